"""What is wrong with a recipe or its data, before and while it trains."""
