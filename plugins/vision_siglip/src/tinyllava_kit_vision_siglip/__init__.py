"""SigLIP and SigLIP 2 vision towers for tinyllava-kit."""
