import numpy as np
from PIL import Image


def make_dataset(folder, defects=("hole", "scratch"), size=32):
    """Smooth images; those with a defect have a bright square, which their ground truth marks."""
    rng = np.random.default_rng(0)
    for part, count in (("train/good", 4), ("test/good", 3), *((f"test/{kind}", 2) for kind in defects)):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            image = np.full((size, size), 100, "uint8") + rng.integers(0, 4, (size, size), "uint8")
            if part.startswith("test") and not part.endswith("good"):
                mask = np.zeros((size, size), "uint8")
                mask[8:14, 8:14] = 255
                image[mask > 0] = 250
                truth = folder / "ground_truth" / part.removeprefix("test/")
                truth.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(truth / (f"{i}_mask.png" if i else f"{i}.png"))
            Image.fromarray(image).save(folder / part / f"{i}.png")
    return folder
