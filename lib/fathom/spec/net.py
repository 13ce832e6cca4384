"""One architecture at one size: the settings of a network, and which family has which."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from fathom.spec.words import FAMILIES, known_phi, one_of

Count = Annotated[int, Field(ge=1, description="a whole number, at least 1")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, description="a finite number above 0")]
Flag = Annotated[bool, Field(description="true or false")]


class Part(BaseModel):
    """A frozen group of settings; unknown keys and loose types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


HEAD = 16  # width of an attention head; a wider network has more of them
RESIDUAL = ("block_depth", "order", "center", "norm", "gain")
IMAGES = ("kernel", "padding", "norm", "affine", "bias", "dropout")
TRANSFORMER = ("gain", "placement", "parallel", "layer_scale", "affine", "bias", "dropout")
OWN = {  # settings that not every family has
    "resmlp": RESIDUAL,
    "linearised": RESIDUAL,
    "cnn": IMAGES,
    "resconv": (*IMAGES, "block_depth", "order", "gain", "stages"),
    "lm": TRANSFORMER,
    "vit": (*TRANSFORMER, "patch"),
}


class Net(Part):
    """One architecture at one size.

    `depth` counts residual blocks (the papers' L); for a plain chain, of matrices or of
    convolutions, all of them before the read-out, the first included, so that it equals the
    effective depth; for a transformer, layers of attention and MLP. `gamma_0` divides the output
    and multiplies the rate, squared under SGD: how much features move.

    Of convolutional networks: width counts channels (of the first of `stages`), `kernel` and
    `padding` are those of every convolution, a norm stands after those of a chain or of a
    branch. Of transformers: the norms
    stand before the branches, after the additions (post) or nowhere; `parallel` adds attention
    and MLP at once, `layer_scale` is where the gain of every branch's own units begins, and `patch`
    is the side of a vision transformer's patches. `affine` gives norms a gain and a bias, `bias`
    gives one to every matrix but the read-out, and `dropout` is the share of what a branch gives
    that is left out in each step.
    """

    family: Annotated[str, one_of(FAMILIES)]
    width: Count
    depth: Count
    block_depth: Annotated[int, Field(ge=1, le=2, description="1 or 2 matrices in a block")] = 1
    phi: Annotated[str, AfterValidator(known_phi)] = "relu"
    order: Annotated[str, one_of(("post", "pre"))] = "post"
    center: Flag = False
    norm: Annotated[str, one_of(("none", "layer", "batch"))] = "none"
    gain: Positive = 1.0
    init_gain: Positive = 1.0
    train_ends: Flag = True
    gamma_0: Annotated[float, Field(gt=0, le=1e9, description="a number above 0, at most 1e9")] = (
        1.0
    )
    kernel: Annotated[int, Field(ge=1, description="a whole number of pixels, at least 1")] = 3
    padding: Annotated[str, one_of(("zeros", "circular"))] = "zeros"
    stages: Annotated[int, Field(ge=1, le=3, description="1, 2 or 3 stages")] = 3
    patch: Annotated[int, Field(ge=1, description="a whole number of pixels, at least 1")] = 7
    placement: Annotated[str, one_of(("pre", "post", "none"))] = "pre"
    parallel: Flag = False
    layer_scale: Annotated[Positive | None, Field(description="a finite number above 0")] = None
    affine: Flag = False
    bias: Flag = False
    dropout: Annotated[
        float, Field(ge=0, lt=1, description="a share of at least 0 and below 1")
    ] = 0.0

    @model_validator(mode="after")
    def _only_what_the_family_has(self) -> "Net":
        have, fields = OWN.get(self.family, ()), type(self).model_fields
        for name in {one: None for own in OWN.values() for one in own}:
            if name not in have and getattr(self, name) != fields[name].default:
                others = ", ".join(family for family, own in OWN.items() if name in own)
                raise ValueError(
                    f"{name} is a setting of {others} that family {self.family} does not have"
                )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> "Net":
        if self.family in ("mlp", "cnn") and self.depth == 1 and not self.train_ends:
            raise ValueError(
                "a chain of depth 1 with train_ends false has nothing to train; give a larger "
                "depth, or train_ends: true"
            )
        if self.family in ("lm", "vit") and self.width % HEAD:
            raise ValueError(
                f"width {self.width} is not a multiple of {HEAD}, the width of a head; give "
                f"{HEAD}, {2 * HEAD} ..."
            )
        if self.family == "resconv" and self.depth % self.stages:
            raise ValueError(
                f"depth {self.depth} is not a multiple of {self.stages}, the number of stages; "
                f"give {self.stages}, {2 * self.stages} ..., or other stages"
            )
        if self.norm == "batch" and self.family not in ("cnn", "resconv"):
            raise ValueError(
                f"norm batch is for cnn and resconv, not for family {self.family}; give none or "
                "layer"
            )
        bare = self.placement == "none" if self.family in ("lm", "vit") else self.norm == "none"
        if self.affine and bare:
            raise ValueError(
                "affine gives norms a gain and a bias, but there is no norm; give one, or affine: "
                "false"
            )
        return self

    def sides(self, side: int) -> list[int]:
        """Pixels a side of what each stage of a convolutional network sees of an image; in three
        stages the stem halves it, and each stage hands on half of what it saw."""
        if self.family == "cnn" or self.stages == 1:
            return [side]
        found = [-(-side // 2)]
        while len(found) < self.stages:
            found.append(-(-found[-1] // 2))
        return found

    def fits(self, side: int | None, task: str) -> None:
        """Raises a ValueError where a network of images cannot see a task's: None pixels a side
        stand for a task without images."""
        if self.family not in ("cnn", "resconv", "vit"):
            return
        if side is None:
            raise ValueError(
                f"task {task} has no images, which family {self.family} is for; give digits or "
                "fashion14, for example"
            )
        if self.family == "vit" and side % self.patch:
            fit = ", ".join(str(size) for size in range(1, side) if side % size == 0)
            raise ValueError(
                f"patch {self.patch} does not divide the {side} pixels a side of task {task}; give "
                f"one of {fit}"
            )
        smallest = side if self.family == "vit" else self.sides(side)[-1]
        if smallest < 2:
            raise ValueError(
                f"stages {self.stages}: of the {side} pixels a side of task {task} the last stage "
                "has 1 left; give fewer stages or larger images"
            )
        if self.family == "vit":
            return
        # Zero padding lets a kernel reach past the image, but each weight has to meet a pixel.
        largest = smallest if self.padding == "circular" else min(side, 2 * smallest - 1)
        if self.kernel > largest:
            sees = "the last stage sees" if smallest < side else "there are"
            raise ValueError(
                f"kernel {self.kernel} is too large: of task {task} {sees} {smallest} pixels a "
                f"side; with {self.padding} padding give {largest} at most"
            )
