"""Messages with something wrong in them: well-formed JSON that no venue sends."""

JUNK = (None, "", "x", "-1", "1e400", 5, -0.5, [], {}, True)


def spoiled(value, rng):
    """Return a copy with one place replaced by what does not belong there, or left out."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        rest = {name: each for name, each in value.items() if name != key}
        return rest if rng.random() < 0.2 else rest | {key: spoiled(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        return [spoiled(value[0], rng), *value[1:]]
    return rng.choice(JUNK)
