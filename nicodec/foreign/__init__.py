"""Other people's codecs as bases: their strings in our container, their decoder in a process of its own."""
