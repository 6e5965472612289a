"""Why a model answered as it did: how sure it was, where it looked, what its items are like."""
