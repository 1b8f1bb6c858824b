"""Commands: train, evaluate, rollout."""
