"""What towers around encoders of transformers share."""
