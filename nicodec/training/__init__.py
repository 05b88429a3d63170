"""How the weights are made: data, losses, one module a stage, and the export to a model package."""
