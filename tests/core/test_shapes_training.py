"""The training recipe's parts: each is right on its own. (`make model` runs the whole.)"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gpu_consumers.models.digest import digest, refuse_code
from gpu_consumers.models.shapes import captions, evaluate, training_data, world
from gpu_consumers.models.shapes.amend import SAME_MEANING, amend
from gpu_consumers.models.shapes.fast_transformer import FastTransformer, token_coordinates
from gpu_consumers.models.shapes.muon import Muon, orthogonalised
from gpu_consumers.models.shapes.text_encoder import (
    MAX_TOKENS,
    Reader,
    build_encoder,
    build_tokenizer,
    train_text_encoder,
)
from gpu_consumers.models.shapes.train_transformer import build_transformer, flow_loss
from gpu_consumers.models.shapes.train_vae import build_vae, round_trip, start_as_pca

ENTRY = evaluate.shapes_entry()
WEIGHTS = Path(ENTRY.source)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """More threads than free cores make small torch models many times slower."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer(samples=3000)


def test_pca_start_is_already_an_auto_encoder() -> None:
    torch.manual_seed(0)
    random_vae, vae = build_vae(), build_vae()
    start_as_pca(vae, world.clips(60, random.Random(1), "anywhere")[0])
    assert round_trip(random_vae, 10)["psnr_db"] < 10
    assert round_trip(vae, 10)["psnr_db"] > 15


def test_fast_transformer_computes_the_same() -> None:
    torch.manual_seed(0)
    model = build_transformer(latent_channels=32, caption_channels=96)
    torch.nn.init.normal_(model.proj_out.weight, std=0.1)
    latents, embeddings, sigma = torch.randn(3, 80, 32), torch.randn(3, MAX_TOKENS, 96), torch.rand(3)
    mask = (torch.arange(MAX_TOKENS)[None] < torch.tensor([4, 20, 32])[:, None]).long()
    given = torch.arange(80)[None] < torch.tensor([0, 16, 32])[:, None]
    with torch.no_grad():
        fast = FastTransformer(model)(latents, embeddings, mask, sigma, given)
        expected = model(
            latents,
            embeddings,
            torch.where(given, 0.0, sigma[:, None]) * 1000,
            mask,
            video_coords=token_coordinates().expand(3, -1, -1),
            return_dict=False,
        )[0]
    assert torch.allclose(fast, expected, atol=1e-4)
    assert expected.abs().max() > 0.1


def test_flow_loss_ignores_given_tokens_and_is_zero_for_the_true_velocity() -> None:
    clean = torch.zeros(4, 80, 32)
    given = torch.arange(80)[None] < torch.tensor([0, 16, 32, 32])[:, None]

    class Oracle(torch.nn.Module):
        """With clean = 0 the noisy input is sigma * noise, and the velocity is the noise."""

        def forward(self, noisy: Tensor, _e: Tensor, _m: Tensor, sigma: Tensor, shown: Tensor) -> Tensor:
            wrong = torch.full_like(noisy, 1e6)
            return torch.where(shown[..., None], wrong, noisy / sigma[:, None, None])

    loss = flow_loss(Oracle(), clean, torch.zeros(4, 1, 1), torch.ones(4, 1), given)
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_muon_update_is_nearly_orthogonal() -> None:
    torch.manual_seed(0)
    for shape in ((3, 20, 8), (3, 8, 20)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
        assert 0.5 < values.min() < values.max() < 1.3


def test_muon_finds_the_minimum() -> None:
    torch.manual_seed(0)
    target, weight = torch.randn(6, 4), torch.nn.Parameter(torch.zeros(6, 4))
    optimizer = Muon([weight], lr=0.05, weight_decay=0.0)
    for _ in range(200):
        optimizer.zero_grad()
        torch.autograd.backward(((weight - target) ** 2).sum())
        optimizer.step()
    assert (weight - target).abs().max() < 0.3


class CountingSource:
    """Draws true clips, and counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, count: int, rng: random.Random) -> tuple[Tensor, list[world.Scene]]:
        self.calls += 1
        return world.clips(count, rng, "inside")


def test_latents_are_drawn_once(tmp_path: Path) -> None:
    draw = CountingSource()
    source = training_data.Source("start", 12, 1.0, (0,), draw)
    vae = build_vae().eval()
    latents, scenes = training_data.cached_latents(vae, source, 8, 1, tmp_path, "sha256:aa")
    assert latents.shape[0] == len(scenes) >= 8
    assert latents.shape[1:] == (80, 32)
    assert scenes.max() < len(world.all_scenes())
    again, _ = training_data.cached_latents(vae, source, 8, 1, tmp_path, "sha256:aa")
    assert torch.equal(latents, again)
    assert draw.calls == 1


def test_cache_names_hold_everything_that_decides_the_content(tmp_path: Path) -> None:
    first, second = training_data.SOURCES[:2]
    names = [
        training_data.cache_file(tmp_path, *arguments)
        for arguments in ((first, 8, 1, "a:aa"), (second, 8, 1, "a:aa"), (first, 9, 1, "a:aa"), (first, 8, 2, "a:aa"),
                          (first, 8, 1, "a:bb"))
    ]  # fmt: skip
    assert len(set(names)) == 5


def test_batches_pair_each_clip_with_a_caption_of_its_scene() -> None:
    scenes = len(world.all_scenes())
    sources = [(torch.zeros(10, 80, 32, dtype=torch.float16), torch.full((10,), i)) for i in range(5)]
    captions_count = scenes * training_data.WORDINGS + 1
    embeddings = torch.arange(captions_count, dtype=torch.float32)[:, None, None]
    masks = torch.ones(captions_count, 1)
    batch = training_data.Batches(sources, embeddings, masks, random.Random(0))
    clean, caption, _, given = batch.next()
    assert clean.shape == (training_data.BATCH, 80, 32)
    owner = [i for i, source in enumerate(training_data.SOURCES) for _ in range(source.per_batch)]
    for scene, number in zip(owner, caption.flatten().tolist(), strict=True):
        assert number == captions_count - 1 or int(number) // training_data.WORDINGS == scene
    for source_index, tokens in zip(owner, given.sum(1).tolist(), strict=True):
        assert tokens // 16 in training_data.SOURCES[source_index].given


def words(tokenizer: Any, text: str) -> Sequence[str]:
    found: list[str] = tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)
    return found


def test_tokenizer_knows_every_word_of_its_captions(tokenizer: Any) -> None:
    rng = random.Random(4)
    for _ in range(300):
        scene = world.random_scene(rng)
        for text in (captions.canonical(scene), captions.training(scene, rng)[0], captions.shuffled(scene, rng)[0]):
            letters = [w for w in words(tokenizer, text) if len(w) == 1 and w.isalnum()]
            assert not letters, text
            assert len(tokenizer(text).input_ids) <= MAX_TOKENS


@pytest.mark.parametrize("shipped", [True, False])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a blue ball on dark blue", "▁a ▁blue ▁ball ▁on ▁navy </s>"),
        ("Blue ball, dark blue background", "▁blue ▁ball , ▁navy ▁background </s>"),
        ("a dark blue ball", "▁a ▁dark ▁blue ▁ball </s>"),
        ("make a box fall", "▁make ▁a ▁box ▁fall </s>"),
    ],
)
def test_dark_blue_is_a_background_only_where_one_is_spoken_of(
    tokenizer: Any, shipped: bool, text: str, expected: str
) -> None:
    from transformers import AutoTokenizer

    used = AutoTokenizer.from_pretrained(WEIGHTS / "tokenizer") if shipped else tokenizer
    assert words(used, text) == expected.split()


def test_text_encoder_learns_to_read(tokenizer: Any) -> None:
    torch.manual_seed(0)
    reader = Reader(tokenizer, build_encoder(len(tokenizer)))
    rng = random.Random(0)
    scenes = [world.random_scene(rng) for _ in range(16)]
    texts, named = [captions.canonical(s) for s in scenes], [captions.Named(*s.key()) for s in scenes]
    before = reader.loss(texts, named).item()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=3e-3)
    for _ in range(25):
        optimizer.zero_grad()
        torch.autograd.backward(reader.loss(texts, named))
        optimizer.step()
    assert reader.loss(texts, named).item() < 0.5 * before
    accuracy = reader.accuracy(texts, scenes)
    assert set(accuracy) == set(world.ATTRIBUTES)
    assert min(accuracy.values()) > 0.5


def test_text_encoder_stage_saves_a_safe_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    report = train_text_encoder(tmp_path, steps=1)
    assert set(report) == set(captions.KINDS)
    refuse_code(tmp_path)
    assert digest(tmp_path).startswith("sha256:")


def test_amend_adds_words_that_mean_the_same(tmp_path: Path) -> None:
    """On the shipped folder, which has the words already: so nothing may change."""
    amended = tmp_path / "amended"
    amend(WEIGHTS, amended)
    tokenizer = json.loads((amended / "tokenizer" / "tokenizer.json").read_text())
    ids = {word: i for i, (word, _) in enumerate(tokenizer["model"]["vocab"])}
    table = load_file(amended / "text_encoder" / "model.safetensors")["shared.weight"]
    assert len(table) == len(ids) == json.loads((amended / "text_encoder" / "config.json").read_text())["vocab_size"]
    for word, known in SAME_MEANING.items():
        assert torch.equal(table[ids["▁" + word]], table[ids["▁" + known]])
    shipped = load_file(WEIGHTS / "text_encoder" / "model.safetensors")["shared.weight"]
    assert torch.equal(table, shipped)


def test_evaluation_reports_every_kind_and_every_chunk(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--per-kind", "1", "--clips", "1", "--chunks", "2", "--steps", "2", "--guidance", "1"]
    assert evaluate.main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["prompt_following"]["table"]) == {*captions.KINDS, "all kinds"}
    assert [len(rows) for rows in report["continuation"].values()] == [2, 2]
    assert (report["steps"], report["guidance"]) == (2, 1.0)
    assert report["clip_s"] > 0
    table = evaluate.show(report)
    assert all(kind in table for kind in captions.KINDS)
    assert str(ENTRY.revision) in table


def test_prompt_set_is_fixed_and_grows_from_the_same_prompts() -> None:
    assert evaluate.prompt_set(5) == evaluate.prompt_set(5)
    assert set(evaluate.prompt_set(3)) < set(evaluate.prompt_set(5))
