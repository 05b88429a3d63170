"""Which weights decode this file: model packages, their parts and ids."""
