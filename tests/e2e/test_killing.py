"""The short form of killing.py: a few kills of either process, half of them while a checkpoint is being written."""
from killing import soak


def test_a_run_killed_at_random_instants_and_inside_checkpoints_gives_the_bytes_of_one_left_alone(tmp_path):
    # A quick machine may have ended the run before the last kill.
    made, inside = soak(tmp_path, kills=4, inside=2, steps=40, seed=1)
    assert 1 <= made <= 4 and inside <= 2
