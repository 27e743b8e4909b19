from app.jobs import Spec


def test_flags_may_be_longer_than_a_name_of_a_file():
    text = f"vit --preset={'n' * 300}"
    assert Spec.parse(f"long={text}") == Spec("long", script="vit", flags=(text.split()[1],))
