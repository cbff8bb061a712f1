"""Our input path against what people do: `python -m benchmarks.feeding`, a quarter of an hour on two cores.

One network, one batch size, one precision; what differs is where the batches come from:
- ours: packed once by `prepare`, augmented as a batch;
- a `DataLoader` over JPEG files of 600x450 with PIL and torchvision's transforms, workers as many as are fastest;
- timm's own loader and transforms, with the same workers.
The step that the others feed is ours too, except for timm's, which is what its training script does.
"""

import tempfile
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.data import create_loader
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.measure import draw, in_turns, keep, row, seconds
from benchmarks.step import Step, quick_recipe
from dermaline.base import errors
from dermaline.data.decode import decode
from dermaline.data.pack import pack
from dermaline.data.photographs import channels_first, in_memory
from dermaline.models.network import input_size
from dermaline.params.recipe import Recipe
from dermaline.sources.archive import RawZip
from dermaline.training.augment import augment

IMAGES, PHOTOGRAPH, PACKED, EPOCHS, ROUNDS = 640, (450, 600), (192, 256), 7, 5
NOISE, QUALITY, ARCHIVE = 8, 95, "noisy.zip"
WORKERS = (0, 1, 2, 4, *([8, 16] if torch.cuda.is_available() else []))
WANTED = {"CPU": ">= 1.3", "GPU": ">= 8"}
COMMAND = "python -m benchmarks.feeding"
Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


class Photographs(Dataset):
    """JPEG files, decoded and transformed one at a time."""

    def __init__(self, paths: list[Path], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), index % 7


def main() -> None:
    recipe = quick_recipe()
    size = input_size(recipe)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(Path(folder))
        packed, once = prepared(Path(folder), [path.stem for path in paths])
        step, usual = Step(recipe), Step(recipe, quick=False)
        device = step.fabric.device
        packed = packed.to(device)  # a GPU has all images

        def run(taken: Step, batches: Callable[[], Batches]) -> None:
            for pixels, target in batches():
                taken(pixels.to(device, non_blocking=True), target.to(device, non_blocking=True))
            taken.wait()

        ours = partial(run, step, lambda: our_batches(packed, recipe, size))
        loaders = {workers: loader(paths, size, recipe.batch_size, workers) for workers in WORKERS}
        speeds = {count: seconds(partial(run, step, lambda it=it: it)) for count, it in loaders.items() for _ in "ab"}
        workers = min(speeds, key=speeds.get)
        theirs = partial(run, step, lambda: loaders[workers])
        timms = timm_loader(paths, size, recipe.batch_size, workers)
        timm = partial(run, usual, lambda: timms)
        found = in_turns([ours, theirs, timm], ROUNDS)
    report(found, once, v2_turns(packed, recipe, size, step.wait), step, workers)


def report(found: np.ndarray, once: float, by_v2: np.ndarray, step: Step, workers: int) -> None:
    """The rows, from seconds an epoch [rounds, (ours, DataLoader, timm)] and the seconds of `prepare`."""
    ours, theirs, timm = found.T
    kind = "GPU" if step.fabric.device.type == "cuda" else "CPU"
    told = {"workers": workers, "images_per_second": [round(IMAGES / value) for value in np.median(found, axis=0)]}
    rows = [
        ("an epoch fed by a DataLoader over JPEG files / ours", theirs / ours, WANTED[kind], told),
        (f"the same, with our prepare shared out over {EPOCHS} epochs", theirs / (ours + once / EPOCHS), "", {}),
        ("an epoch of timm's loader and training step / ours", timm / ours, "", {}),
        ("torchvision v2 transforms, image by image on tensors / our augmentation", by_v2, "", {}),
    ]
    keep(
        [row(f"{claim} ({kind})", ratios, wanted, COMMAND, step.fabric, **more) for claim, ratios, wanted, more in rows]
    )


def photographs(folder: Path) -> list[Path]:
    """Generated JPEG files of the originals' size, in pixels and (by a camera's noise) in bytes: some 270 kB each."""
    draw(folder / "raw", IMAGES, PHOTOGRAPH)
    (folder / "jpeg").mkdir()
    random = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "raw/images.zip") as plain, zipfile.ZipFile(folder / ARCHIVE, "w") as noisy:
        for name in plain.namelist():
            with plain.open(name) as file, Image.open(file) as image:
                pixels = np.asarray(image) + random.normal(0, NOISE, (*PHOTOGRAPH, 3))
            path = folder / "jpeg" / name
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=QUALITY, subsampling=0)
            noisy.write(path, name)
    return sorted((folder / "jpeg").iterdir())


def prepared(folder: Path, ids: list[str]) -> tuple[torch.Tensor, float]:
    """The packed images, uint8 [N, 3, H, W], and the seconds that packing took."""
    target, source = folder / "images.npy", RawZip(folder / ARCHIVE)
    once = seconds(lambda: pack(source, ids, target, (*PACKED, 3), partial(decode, size=PACKED, max_megapixels=50)))
    return channels_first(np.load(target)), once


def our_batches(packed: torch.Tensor, recipe: Recipe, size: tuple[int, int]) -> Batches:
    generator = torch.Generator().manual_seed(0)
    for chosen in torch.randperm(len(packed)).split(recipe.batch_size):
        yield augment([in_memory(packed)], chosen, size, recipe, generator, packed.device), chosen % 7


def transforms(size: tuple[int, int]) -> list[v2.Transform]:
    """What tutorials do, resized first, with the ranges of our recipe."""
    return [
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.RandomAffine(180, translate=(0.05, 0.05), scale=(0.83, 1.2), interpolation=v2.InterpolationMode.BILINEAR),
        v2.ColorJitter(brightness=0.15, contrast=0.15, saturation=0.15),
    ]


def loader(paths: list[Path], size: tuple[int, int], batch_size: int, workers: int) -> DataLoader:
    whole = v2.Compose([v2.Resize(size), *transforms(size), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
    ahead = {"persistent_workers": True, "prefetch_factor": 4} if workers else {}
    ahead["pin_memory"] = torch.cuda.is_available()
    return DataLoader(Photographs(paths, whole), batch_size, shuffle=True, num_workers=workers, **ahead)


def timm_loader(paths: list[Path], size: tuple[int, int], batch_size: int, workers: int) -> DataLoader:
    dataset = Photographs(paths, Image.Image.copy)  # timm puts its transform here
    ranges = {"scale": (0.5, 1), "vflip": 0.5, "color_jitter": 0.15}
    options = {"num_workers": workers, "persistent_workers": bool(workers), "use_prefetcher": False} | ranges
    return create_loader(dataset, (3, *size), batch_size, is_training=True, **options)


def v2_turns(packed: torch.Tensor, recipe: Recipe, size: tuple[int, int], wait: Callable[[], None]) -> np.ndarray:
    """One batch of uint8 tensors augmented by v2, which draws once a call, over the same by ours, in seconds."""
    batch, generator = packed[: recipe.batch_size].contiguous(), torch.Generator().manual_seed(0)
    images, all_of_them = [in_memory(batch)], torch.arange(len(batch))
    each = v2.Compose([v2.Resize(size), *transforms(size), v2.ToDtype(torch.float32, scale=True)])

    def ours() -> None:
        augment(images, all_of_them, size, recipe, generator, batch.device)
        wait()

    def theirs() -> None:
        torch.stack([each(one) for one in batch])
        wait()

    found = in_turns([ours, theirs], 11)
    return found[:, 1] / found[:, 0]


if __name__ == "__main__":
    errors.run(main)
