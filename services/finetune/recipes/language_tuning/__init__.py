"""What recipes lora_lm and full_lm are made of: documents, rows of them, the model, its steps and scores."""
