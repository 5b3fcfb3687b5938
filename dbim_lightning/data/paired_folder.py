"""Everybody's own pairs: strips, two folders, or a CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from PIL import Image
from rich.markup import escape
from rich.progress import track
from torch.utils.data import Dataset

from dbim_lightning.data.images import (
    Fit,
    Span,
    fit,
    image_dimensions,
    read_image,
    to_tensor,
)
from dbim_lightning.data.pair import Pair
from dbim_lightning.data.pair_files import PairFiles, files_of
from dbim_lightning.data.paired_layouts import FoundPairs, Layout, find_pairs
from dbim_lightning.data.ranges import Range, require_range, span_of
from dbim_lightning.data.splits import SPLITS
from dbim_lightning.errors import UserError
from dbim_lightning.files import tell_once

Side = Literal["left", "right"]
Interpolation = Literal["bicubic", "bilinear", "nearest"]


class PairedFolder(Dataset):
    """Pairs of images in a folder, found in any of three layouts, and in sorted order of names.

    - strips: each image is two halves side by side.
    - folders: source/ and target/, or A/ and B/, or trainA/ and trainB/, or input/ and output/ and
      the like, with equal names.
    - csv: pairs.csv, or `root` itself, with the columns source, target and, if you like, split and
      name; its paths are relative to its folder.

    Splits are the folders (or the column) train, val or validation or valid, and test. One of the
    last two is taken for both; where neither is there, a hash of the name divides the pairs into
    85% train, 5% validation and 10% test. In a CSV it is the source's path that counts. Pairs that
    share a source or target, also by links, stay together.

    Args:
        split: train, validation or test.
        root: Folder with the images, or a .csv file.
        image_size: Height and width of the pairs; no image may be smaller.
        layout: auto, or one of the three.
        source_side: Which half of a strip is the source: left or right.
        fit: crop scales the short side and cuts out the middle; squash scales both sides.
        check: Reads the header of every image now, so that a wrong one is found before training.
        range: Values that become black and white in images of more than 8 bits, one choice for
            all sources and one for all targets: auto, 8bit, 16bit, minmax, or two numbers (see
            `span_of`); or two of these, for sources and targets.
        interpolation: How images are scaled: bicubic, bilinear, or nearest for maps of labels; or
            two of them, for sources and targets.

    Raises:
        UserError: An option that does not exist, no layout or several, pairs without partner, an
            empty split, or an image that cannot be read or has a wrong size (also on access).
    """

    def __init__(
        self,
        split: str,
        root: str | Path,
        image_size: int = 64,
        layout: Layout = "auto",
        source_side: Side = "left",
        fit: Fit = "crop",
        check: bool = True,
        range: Range | Sequence[Range] = "auto",
        interpolation: Interpolation | Sequence[Interpolation] = "bicubic",
    ):
        _require_choice("split", split, SPLITS)
        _require_choice("layout", layout, get_args(Layout))
        _require_choice("source_side", source_side, get_args(Side))
        _require_choice("fit", fit, get_args(Fit))
        ranges = _of_both(range)
        self._resampling = _two_resamplings(interpolation)
        if image_size < 1:
            raise UserError(f"dataset.image_size={image_size} is no size: give a whole number")
        self.image_size, self.source_side, self.fit = image_size, source_side, fit
        found = find_pairs(Path(root), layout)
        self._strips = found.layout == "strips"
        halves = "source|target" if source_side == "left" else "target|source"
        tell_once(f"{root}: {f'{halves} ' if self._strips else ''}{found.told}")
        self._files = found.splits[split]
        if not self._files:
            raise UserError(
                f"{root} has no {split} pairs ({found.told}): put some into a folder {split}/ "
                "of their own (in a CSV: name it in the column split)"
            )
        self._spans = self._found_spans(found, ranges, root, check)
        if check:
            for files in track(
                self._files, escape(f"Checking {root}"), disable=len(self) <= 20_000
            ):
                self._require_fitting(files, *self._both(files))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Pair:
        files, spans = self._files[index], self._spans
        source = read_image(files.source, spans[0])
        target = source if self._strips else read_image(files.target, spans[1])
        self._require_fitting(files, source.size, target.size)
        if self._strips:
            source, target = self._halves(source)
        x_T, x_0 = (
            to_tensor(fit(image, self.image_size, self.fit, resampling))
            for image, resampling in zip((source, target), self._resampling, strict=True)
        )
        return Pair(x_0=x_0, x_T=x_T, index=index, name=files.name)

    @property
    def files(self) -> list[Path]:
        """Every file that the pairs are made of."""
        return files_of(self._files)

    @property
    def groups(self) -> list[str]:
        """For each pair the smallest name among those that share a file, also in a chain."""
        return [files.group for files in self._files]

    @property
    def settled(self) -> dict[str, list]:
        """Options as they turned out to be, which other data of the same kind need."""
        found = [list(span) if span else "auto" for span in self._spans]
        return {"range": found} if any(self._spans) else {}

    def _found_spans(
        self, found: FoundPairs, ranges: list[Range], root: str | Path, check: bool
    ) -> tuple[Span | None, Span | None]:
        """The values that become black and white, of sources and targets in all splits."""
        pairs = [pair for split in SPLITS for pair in found.splits[split]]
        sources = sorted({pair.source for pair in pairs})
        if self._strips:
            if ranges[0] != ranges[1]:
                raise UserError(f"dataset.range={ranges}: a strip has one range, give one")
            span = span_of(sources, ranges[0], f"strips of {root}", check)
            return span, span
        targets = sorted({pair.target for pair in pairs})
        return (
            span_of(sources, ranges[0], f"sources of {root}", check),
            span_of(targets, ranges[1], f"targets of {root}", check),
        )

    def _both(self, files: PairFiles) -> tuple[tuple[int, int], tuple[int, int]]:
        """Width and height of source and target, read once where both are one strip."""
        source = image_dimensions(files.source)
        return source, source if self._strips else image_dimensions(files.target)

    def _halves(self, strip: Image.Image) -> tuple[Image.Image, Image.Image]:
        """The source and the target of a strip."""
        half = strip.width // 2
        left = strip.crop((0, 0, half, strip.height))
        right = strip.crop((half, 0, strip.width, strip.height))
        return (left, right) if self.source_side == "left" else (right, left)

    def _require_fitting(
        self, files: PairFiles, source: tuple[int, int], target: tuple[int, int]
    ) -> None:
        """Checks the (width, height) of a pair, where a strip stands for both."""
        divisor, what = (2, "a half of ") if self._strips else (1, "")
        sizes = (files.source, source), (files.target, target)
        for path, (width, height) in sizes:
            if width % divisor:
                raise UserError(f"{path} is {width} wide, an odd number: a strip has equal halves")
            if min(width // divisor, height) < self.image_size:
                raise UserError(
                    f"{what}{path} is {width // divisor}x{height}, smaller than "
                    f"dataset.image_size={self.image_size}: lower that, or remove the image"
                )
        one, other = source[0] * target[1], target[0] * source[1]
        if self.fit == "crop" and max(one, other) > 1.02 * min(one, other):
            raise UserError(
                f"{files.name} has a source of {source[0]}x{source[1]} and a target of "
                f"{target[0]}x{target[1]}, which a crop cannot align: dataset.fit=squash"
            )


def _of_both(range: Range | Sequence[Range]) -> list[Range]:
    """The range of sources and that of targets."""
    is_one = isinstance(range, str) or any(isinstance(end, int | float) for end in range)
    ranges = [range] * 2 if is_one else list(range)
    if len(ranges) != 2:
        raise UserError(f"dataset.range={ranges}: give one, or two as [source,target]")
    for one in ranges:
        require_range(one)
    return ranges


def _two_resamplings(
    interpolation: Interpolation | Sequence[Interpolation],
) -> tuple[Image.Resampling, ...]:
    """Of sources and targets."""
    two = [interpolation] * 2 if isinstance(interpolation, str) else list(interpolation)
    if len(two) != 2:
        raise UserError(f"dataset.interpolation={two}: give one, or two as [source,target]")
    for one in two:
        _require_choice("interpolation", one, get_args(Interpolation))
    return tuple(Image.Resampling[one.upper()] for one in two)


def _require_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"dataset.{option}={value} does not exist: choose {', '.join(choices)}")
