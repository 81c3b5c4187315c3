"""Plans, ledgers and manifests of folders, without making anything."""

import dataclasses
import json

import pytest

from generator.batch import manifest
from generator.batch.books import Books
from generator.batch.fingerprints import Fingerprint, Fingerprints, digest_of, file_sha256
from generator.batch.job import jobs_of, recipe
from generator.batch.ledger import Ledger
from generator.batch.messages import Outcome
from generator.batch.plan import make_plan
from generator.batch.prompts import NamedPrompt
from generator.errors import ConfigError, MissingFileError
from generator.options.groups import parser
from generator.weights import hub

PROMPTS = [NamedPrompt("village", "a village"), NamedPrompt("forest", "a forest")]
RECIPE = {"num_frames": 30, "window": {"top_k": None}}


def options_of(out, *words):
    return parser().parse_args(["batch", "prompts.txt", "--out", str(out), *words])


@pytest.fixture
def jobs():
    return jobs_of(PROMPTS, [0], ["native"], RECIPE)


def finish(ledger, jobs, out, **fields):
    """Make files and entries as a worker and its batch do."""
    books = Books(ledger, jobs, "memory", "batch")
    for job in jobs:
        books.started(job.name, 1)
        if fields.get("reason"):
            books.ended(job.name, Outcome(**fields))
            continue
        for name in job.files:
            (out / name).write_text(f"{name} of {job.digest}")
        files = {
            name: {"bytes": (out / name).stat().st_size, "sha256": file_sha256(out / name)}
            for name in job.files
        }
        books.ended(job.name, Outcome(seconds=1.5, files=files))


def whys(jobs, ledger, out, **options):
    plan = make_plan(jobs, ledger, out, **{"replace": False, **options})
    return {planned.job.name: planned.why for planned in plan.to_make}


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path)
    with ledger.locked():
        yield ledger


def test_jobs_are_all_combinations_prompt_by_prompt():
    jobs = jobs_of(PROMPTS, [0, 7], ["longlive_rag", "native"], RECIPE)
    assert [job.name for job in jobs][:4] == [
        "village-s0",
        "village-s0-native",
        "village-s7",
        "village-s7-native",
    ]
    assert len({job.digest for job in jobs}) == len(jobs) == 8
    assert jobs[0].files == ("village-s0.mp4", "village-s0.latents.safetensors", "village-s0.json")


def test_two_jobs_of_one_name_are_refused():
    prompts = [NamedPrompt("a", "a"), NamedPrompt("a-s0-native", "b")]
    jobs_of(prompts, [0], ["native"], RECIPE)
    prompts = [NamedPrompt("a", "a"), NamedPrompt("a", "b")]
    with pytest.raises(ConfigError, match="'a-s0-native'"):
        jobs_of(prompts, [0], ["native"], RECIPE)


@pytest.mark.parametrize("field", ["name", "prompt", "seed", "method", "recipe"])
def test_every_field_of_a_job_is_in_its_digest(jobs, field):
    other = {"seed": 1, "recipe": {**RECIPE, "window": {"top_k": 3}}}.get(field, "other")
    assert dataclasses.replace(jobs[0], **{field: other}).digest != jobs[0].digest


def test_what_is_complete_is_skipped(jobs, ledger, tmp_path):
    assert whys(jobs, ledger, tmp_path) == dict.fromkeys(["village-s0-native", "forest-s0-native"], "new")
    finish(ledger, jobs, tmp_path)
    assert whys(jobs, ledger, tmp_path) == {}
    assert list(make_plan(jobs, ledger, tmp_path, replace=False).lines()) == [
        "skip  village-s0-native  (complete)",
        "skip  forest-s0-native  (complete)",
        "0 to make, 2 complete",
    ]


def test_what_is_half_done_failed_or_undone_is_made(jobs, ledger, tmp_path):
    village, forest = jobs
    finish(ledger, [village], tmp_path, reason="ValueError: no\nmore")
    Books(ledger, jobs, "memory", "batch").started(forest.name, 2)
    assert whys(jobs, ledger, tmp_path) == {
        village.name: "failed: ValueError: no",
        forest.name: "half done",
    }
    entry = ledger.read(forest.name)
    assert entry is not None
    assert (entry.attempts, entry.state, entry.memory) == (2, "running", "memory")


def test_files_that_are_not_as_they_were_made_are_made_again(jobs, ledger, tmp_path):
    finish(ledger, jobs, tmp_path)
    (tmp_path / "village-s0-native.json").unlink()
    path = tmp_path / "forest-s0-native.mp4"
    path.write_text(path.read_text().swapcase())
    assert whys(jobs, ledger, tmp_path) == {
        "village-s0-native": "village-s0-native.json is missing",
        "forest-s0-native": "forest-s0-native.mp4 was changed",
    }


def test_a_job_of_another_recipe_says_what_is_other(jobs, ledger, tmp_path):
    finish(ledger, jobs, tmp_path)
    other = jobs_of(PROMPTS, [0], ["native"], {"num_frames": 60, "window": {"top_k": 3}, "weights": {}})
    assert set(whys(other, ledger, tmp_path).values()) == {"other num_frames, weights, window.top_k"}


def test_files_of_another_origin_stop_a_plan(jobs, ledger, tmp_path):
    (tmp_path / "forest-s0-native.mp4").write_text("mine")
    with pytest.raises(FileExistsError, match=r"forest-s0-native\.mp4"):
        make_plan(jobs, ledger, tmp_path, replace=False)
    assert len(whys(jobs, ledger, tmp_path, replace=True)) == 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"files": 3}', '{"files": {}, "more": 1}'])
def test_an_entry_that_nobody_can_read_is_none(jobs, ledger, tmp_path, content):
    finish(ledger, jobs, tmp_path)
    (ledger.folder / "village-s0-native.json").write_text(content)
    assert ledger.read("village-s0-native") is None
    with pytest.raises(FileExistsError, match="whose entry is lost"):
        make_plan(jobs, ledger, tmp_path, replace=False)


@pytest.mark.usefixtures("ledger")
def test_a_folder_has_one_batch_at_a_time(tmp_path):
    with pytest.raises(ConfigError, match="another batch"), Ledger(tmp_path).locked():
        pass


def test_the_manifest_tells_of_every_job(jobs, ledger, tmp_path):
    finish(ledger, jobs[:1], tmp_path)
    weights = tmp_path / "w.safetensors"
    weights.write_text("weights")
    prints = Fingerprints()
    prints.of(weights)
    options = options_of(tmp_path, "--seeds", "0")
    options.environment = {"REVERIE_MEMORY_TOKEN": "secret"}
    manifest.write(options, jobs, ledger, prints, 3.25)
    text = (tmp_path / "manifest.json").read_text()
    told = json.loads(text)
    assert "secret" not in text
    assert [entry["state"] for entry in told["jobs"].values()] == ["done", "waiting"]
    assert told["jobs"]["village-s0-native"]["digest"] == digest_of(jobs[0].description)
    assert told["counts"] == {"done": 1, "waiting": 1}
    assert (told["seeds"], told["seconds"], told["config"]["frames"]) == ([0], 3.25, 240)
    assert manifest.known_fingerprints(tmp_path) == prints.used


def test_no_manifest_knows_no_fingerprints(tmp_path):
    assert manifest.known_fingerprints(tmp_path) == {}
    (tmp_path / "manifest.json").write_text("[1]")
    assert manifest.known_fingerprints(tmp_path) == {}


def test_a_file_is_read_again_when_it_changed(tmp_path):
    path = tmp_path / "w.pt"
    path.write_text("one")
    first = Fingerprints()
    digest = first.of(path)
    name, known = next(iter(first.used.items()))
    lie = Fingerprint(known.bytes, known.mtime_ns, "believed")
    assert Fingerprints({name: lie}).of(path) == "believed"
    path.write_text("other")
    assert Fingerprints({name: lie}).of(path) not in ("believed", digest)


def test_a_folder_is_its_weights_wherever_it_lies(tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        (folder / "vae").mkdir(parents=True)
        (folder / "vae" / "x.safetensors").write_text("weights")
        (folder / f"{folder.name}.md").write_text(folder.name)
    prints = Fingerprints()
    same = prints.of(tmp_path / "a")
    assert prints.of(tmp_path / "b") == same
    (tmp_path / "b" / "vae" / "x.safetensors").rename(tmp_path / "b" / "x.safetensors")
    assert prints.of(tmp_path / "b") != same


def test_a_recipe_knows_weights_by_content_and_other_options_by_value(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "x.safetensors").write_text("one")
    words = ("--weights", str(folder))
    first = recipe(options_of(tmp_path, *words), Fingerprints())
    assert recipe(options_of(tmp_path / "elsewhere", *words, "--workers", "9"), Fingerprints()) == first
    assert recipe(options_of(tmp_path, *words, "--frames", "3"), Fingerprints()) != first
    assert recipe(options_of(tmp_path, *words, "-K", "3"), Fingerprints()) != first
    pools = [
        recipe(options_of(tmp_path, *words, "--encoder", f"{name}-pool"), Fingerprints())
        for name in ("avg", "row")
    ]
    assert first not in pools
    assert pools[0] != pools[1]
    (folder / "x.safetensors").write_text("two")
    assert recipe(options_of(tmp_path, *words), Fingerprints()) != first
    assert str(folder) not in json.dumps(first)


@pytest.fixture
def root(tmp_path):
    """A root where all published files lie, next to nothing each."""
    places = [
        *hub.ENCODER,
        *hub.BASE,
        *(place for files in hub.GENERATORS.values() for f in files for place in f),
    ]
    for place in places:
        place.below(tmp_path).parent.mkdir(parents=True, exist_ok=True)
        place.below(tmp_path).write_text("{}")
    return tmp_path


def test_published_weights_are_their_own_files_and_not_all_of_their_root(root):
    words = ("--weights", str(root), "--backbone", "longlive")
    prints = Fingerprints()
    first = recipe(options_of(root, *words), prints)
    assert set(first["weights"]) == {"generator.0", "generator.1", "base", "encoder"}
    hub.locate(hub.GENERATORS["self_forcing"][0], root).write_text("other")
    assert recipe(options_of(root, *words), Fingerprints()) == first
    hub.locate(hub.GENERATORS["longlive"][1], root).write_text("other")
    assert recipe(options_of(root, *words), Fingerprints()) != first
    assert not [name for name in prints.used if "self_forcing" in name]


def test_published_weights_that_are_not_there_are_an_error_with_a_command(tmp_path):
    with pytest.raises(MissingFileError, match="hf download"):
        recipe(options_of(tmp_path, "--weights", str(tmp_path), "--backbone", "longlive"), Fingerprints())


def test_weights_that_are_not_there_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        recipe(options_of(tmp_path, "--weights", str(tmp_path / "nowhere")), Fingerprints())
