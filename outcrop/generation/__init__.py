"""Floor 3: text and likelihoods from models."""
