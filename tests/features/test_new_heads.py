"""New heads and frozen parts of every builder of all tasks."""

from support import new_heads, reference

name = new_heads.builders(reference.catalog())

test_new_head = new_heads.test_new_head
test_new_head_of_other_channels = new_heads.test_new_head_of_other_channels
test_freezing = new_heads.test_freezing
