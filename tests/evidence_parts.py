"""What every measured row of the committed evidence must have."""

CONDITIONS = ("device", "threads", "runtime", "runtime_version", "sha256", "warmup", "date")


def check_record(record):
    assert record["runs"] >= 100
    for key in CONDITIONS:
        assert record["conditions"][key]
