"""Benchmarks in the layout of TinyLLaVA_Factory's evaluation: their files read, their answer files written."""
