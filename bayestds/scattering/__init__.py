"""The diffuse intensity of a vibrating crystal, and the volumes in which it is measured."""
