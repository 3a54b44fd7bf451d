"""A recipe as arguments of LLaMA Factory, such arguments as a recipe, and the working folder of LLaMA Board.

Names and defaults are those of LLaMA Factory 0.9.5 (src/llamafactory/hparams) and of Transformers' TrainingArguments.
"""
