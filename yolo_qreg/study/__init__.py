"""The paper's detection half as one job: train a grid of models, evaluate all, report. Import its modules directly."""
