"""Where models come from: presets, Hugging Face `config.json` files, and hyperparameters. Each yields a spec."""
