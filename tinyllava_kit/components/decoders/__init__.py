"""What decoders share: voices that read aloud, and a talker around any codec."""
