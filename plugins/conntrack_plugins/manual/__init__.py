"""What is generated from the commands and the catalogue: manual pages, completion, reference."""
