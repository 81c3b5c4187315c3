import pytest

from generator.batch.prompts import NAME, NamedPrompt, default_name, read
from generator.errors import ConfigError


def listed(tmp_path, text, name="prompts.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_are_prompts_but_for_comments_and_blanks(tmp_path):
    path = listed(tmp_path, "# mine\n\n  a village: at dusk  \n#a forest\nein Wäldchen # im Mai\n")
    assert [prompt.text for prompt in read(path)] == ["a village: at dusk", "ein Wäldchen # im Mai"]


def test_a_prompt_twice_is_one(tmp_path):
    assert len(read(listed(tmp_path, "a village\na forest\na village\n"))) == 2


def test_a_name_depends_on_its_prompt_alone(tmp_path):
    first, *_ = read(listed(tmp_path, "a village\na forest\n"))
    *_, last = read(listed(tmp_path, "a castle\na village\n"))
    assert first == last == NamedPrompt("a-village-942483", "a village")


@pytest.mark.parametrize(
    "text", ["...", "A " * 500, "Ünïcödé", "a very-" + "long" * 100 + " word", "x" * 900]
)
def test_every_prompt_has_a_name_of_its_own(text):
    assert NAME.fullmatch(default_name(text))
    assert default_name(text) != default_name(text + " ")
    assert len(default_name(text)) <= 60


def test_objects_may_bear_names(tmp_path):
    path = listed(tmp_path, '{"prompt": "a village", "name": "v.1"}\n# no\n{"prompt": "a forest"}', "p.jsonl")
    assert read(path) == [NamedPrompt("v.1", "a village"), NamedPrompt(default_name("a forest"), "a forest")]


@pytest.mark.parametrize(
    "line",
    [
        "a village",
        "[]",
        "{}",
        '{"prompt": 3}',
        '{"prompt": " "}',
        '{"prompt": "a", "seed": 1}',
        '{"prompt": "a", "name": "../b"}',
        '{"prompt": "a", "name": ""}',
        '{"prompt": "a", "name": 3}',
        '{"prompt": "a", "name": null}',
    ],
)
def test_other_objects_are_refused_with_their_line(tmp_path, line):
    with pytest.raises(ConfigError, match=r"p\.jsonl:2: "):
        read(listed(tmp_path, '{"prompt": "fine"}\n' + line, "p.jsonl"))


def test_one_name_for_two_prompts_is_refused(tmp_path):
    path = listed(tmp_path, '{"prompt": "a", "name": "x"}\n{"prompt": "b", "name": "x"}', "p.jsonl")
    with pytest.raises(ConfigError, match="already named 'x'"):
        read(path)


def test_a_list_of_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no prompts"):
        read(listed(tmp_path, "# later\n"))


def test_other_than_text_is_refused(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        read(path)
