"""The seq-JEPA world model: replay, model, objectives, learner, probes, checkpoints."""
