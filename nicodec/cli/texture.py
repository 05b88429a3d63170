"""`nicodec train texture`: what texture tokens are of, and how likely each is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from nicodec.cli import flags

EPOCHS = 8  # in which the prior is trained


@click.command("texture")
@flags.data_option("Training pictures, or tars of them, which are streamed")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="models/NAME",
              help="Folder of the package that it becomes a part of; its base stays frozen.")  # fmt: skip
@click.option("--bits", type=click.IntRange(1, 12), default=8, show_default=True,
              help="Of a token, at most: 2^bits textures.")  # fmt: skip
@click.option("--stride", type=click.Choice(["16", "32"]), default="32", show_default=True,
              help="Side of the square that a token is of, in pixels.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True,
              help="Batches of crops that the prior of the tokens is trained on.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite what is there.")
def command(folders: tuple[Path, ...], output: Path, bits: int, stride: str, steps: int, force: bool) -> None:
    """Make the codebook of texture tokens for a frozen base, and train their prior: minutes, without a critic.

    A token says, of a square of the picture, how much stronger or weaker the original is there than what the base
    shows, by frequency, direction and colour. The perception anchor paints with them where --tau leads it.
    """
    from nicodec.errors import OutputExistsError

    if (output / "texture.safetensors").exists() and not force:
        raise OutputExistsError(f"{output} holds a texture part already; use -f to overwrite it")
    size = build_into(output, folders, bits=bits, stride=int(stride), steps=steps)
    click.echo(f"{output}: a texture part of {size} bytes", err=True)


def build_into(
    output: Path, folders: Sequence[Path], bits: int = 8, stride: int = 32, batches: int = 100, steps: int = 300,
    batch: int = 8, side: int = 256,
) -> int:  # fmt: skip
    """Give the package `output` a texture part; one that is there is overwritten.

    Args:
        bits: depth of the codebook's tree.
        stride: side of a token's square in pixels, 16 or 32.
        batches: of crops that the codebook is made of.
        steps: batches that the prior is trained on.
        batch, side: crops a step, and pixels along their sides.

    Returns:
        Bytes of the part.

    Raises:
        MissingPartError: the base is another codec's.
    """
    import torch

    from nicodec.errors import MissingPartError
    from nicodec.latents.geometry import PATCH
    from nicodec.training.data import training_pictures
    from nicodec.training.export import export_texture
    from nicodec.training.texture import build, tokeniser
    from nicodec.training.tokens import TokenNet, integer_prior, train_prior
    from nicodec.zoo.load import is_foreign, load_base, load_scales
    from nicodec.zoo.manifest import read_manifest

    part = read_manifest(output / "model.toml").parts["base"]
    if is_foreign(part):
        raise MissingPartError(f"{output} holds another codec's base; texture tokens are of one of ours")
    base, pictures = load_base(part, "cpu"), training_pictures(folders, torch.device("cpu"), least=side)
    texture = build(base, pictures, bits, stride, batches=batches, batch=batch, side=side)
    net = TokenNet(base.config, stride // PATCH, bits, signed=False)
    static = train_prior(base, net, tokeniser(base, texture), pictures, steps, batch, side, EPOCHS)
    export_texture(texture, integer_prior(net, static, load_scales(part).magnitude), output)
    return (output / "texture.safetensors").stat().st_size
