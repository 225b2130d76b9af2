"""What a run will take: `cost` (time, disk), `footprint` (memory), `recipes` (ready settings)."""
