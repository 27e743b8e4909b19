import pytest
from app.parser import Parser, fail


@pytest.fixture
def parser():
    parser = Parser("What it does.")
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--model", required=True)
    parser.add_argument("--tile-size", type=int)
    parser.add_argument("--format", choices=("png", "webp"))
    return parser


def refusal(capsys, function, *arguments):
    with pytest.raises(SystemExit) as exit_:
        function(*arguments)
    assert exit_.value.code == 2
    printed = capsys.readouterr()
    assert not printed.out
    (line,) = printed.err.splitlines()  # without the usage
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    "argv, message",
    [
        ("a --model m --tilesize 3", "unrecognized arguments: --tilesize 3; did you mean --tile-size? (there is no"),
        ("a --model m --tile_size=3", "unrecognized arguments: --tile_size=3; did you mean --tile-size?"),
        ("a --model m --tile 3", "unrecognized arguments: --tile 3; did you mean --tile-size? (there is no --tile)"),
        ("a --modle m", "required: --model; did you mean --model? (there is no --modle)"),
        ("a --model m --tile-size 3 --whatever", "unrecognized arguments: --whatever (--help lists all)"),
        ("--tile-size 3", "the following arguments are required: inputs, --model (--help lists all)"),
        ("a --model m --tile-size big", "argument --tile-size: invalid int value: 'big'"),
        ("a --model m --format gif", "argument --format: invalid choice: 'gif' (choose from"),
    ],
)
def test_mistakes_take_a_sentence_and_what_is_misspelt_gets_a_suggestion(parser, capsys, argv, message):
    assert message in refusal(capsys, parser.parse_args, argv.split())


def test_what_a_script_finds_wrong_is_said_as_it_says_it(parser, capsys):
    assert refusal(capsys, parser.error, "--tile-size must be even. Received: 3") == (
        "--tile-size must be even. Received: 3"
    )
    assert refusal(capsys, fail, ValueError("it cannot be")) == "it cannot be"


def test_help_fits_the_terminal_paragraph_by_paragraph(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit) as exit_:
        Parser(f"{'word ' * 10}\n\nA second\nparagraph.\n\n    {'indented ' * 5}").parse_args(["--help"])
    assert exit_.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert "A second paragraph." in lines and f"    {'indented ' * 5}" in lines
    assert max(map(len, lines[: lines.index("A second paragraph.")])) < 40
