"""Everything that touches the disk: volumes, STAR files, tables, box stacks and metadata."""
