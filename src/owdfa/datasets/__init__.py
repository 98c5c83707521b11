"""Data sets as published: each file lists images, and never splits, crops or hides one."""
