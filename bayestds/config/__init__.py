"""Model files: one TOML file states a crystal, its force constants and a measurement.

A model file is data. It is checked here as far as the file alone allows; whether the names of its
force constants fit the crystal is checked by the code that knows the crystal.
"""

from bayestds.config.campaigns import Campaign, Run, load_campaign
from bayestds.config.files import available_models, load_model, model_folder, parse_model
from bayestds.config.tables import Model

__all__ = [
    "Campaign",
    "Model",
    "Run",
    "available_models",
    "load_campaign",
    "load_model",
    "model_folder",
    "parse_model",
]
