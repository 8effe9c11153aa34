"""What every training uses: the loop, its source of boxes, devices, compilation and several processes."""
