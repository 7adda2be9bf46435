"""Interventions: a model, a probe and texts become what moving a state along the probe does."""
