"""Random vision transformers whose tensors are spread as training leaves them.

Plain random weights flatter arithmetic of few bits: every channel and every
token of theirs is as large as the next.  Trained transformers are not like
that, and ``heavy_tailed_state`` imitates what makes them hard:

* a few channels of the residual stream carry activations 10 to 100 times the
  others', with the same sign in every token, and some tokens carry them larger
  still ("Massive Activations in Large Language Models", arXiv 2402.17762;
  "Vision Transformers Need Registers", arXiv 2309.16588).  Here the second
  MLP of an early block writes them: its bias, and one hidden unit that fires for
  few tokens;
* layer norm does not hide them: behind it these channels are 4 to 10 times the
  rest ("LLM.int8()", arXiv 2208.07339; "SmoothQuant", arXiv 2211.10438), and in
  tokens with more of them everything else is smaller.  All gains are spread
  log-normally;
* rows of matrices have log-normal norms, their entries are sums of Student's t
  with 5 degrees of freedom; they lean towards the directions that their inputs
  vary along, as rows do that are sums of gradients.  Without that a deep network
  of random weights is chaotic: it blows up any rounding, whatever it is of.  As
  they are, noise on the embedded patches reaches the keys .6 times as large,
  beside what varies over the patches in both; in the default model it is .8;
* channels of the residual stream have log-normal deviations that all blocks share;
* biases of queries and, more so, of keys are large and heavy-tailed (a constant
  added to every key changes no softmax, so that nothing in training holds it
  back);
* the logits of a head have a deviation over the keys of 1 to 4: its attention is
  neither uniform nor on one token; hidden units are sparse, with long tails;
* position embeddings are smooth.

Where a scale depends on what comes before (logits, branches of the residual
stream, thresholds) a small picture is run through the blocks made so far and
the scale set by what is seen, as training would.  Two machines may differ in the
last bits of the weights, as their BLAS do.  Branches of the residual stream are
centred over the tokens, for without training a constant would soon drown what
tells one token from another.

    python Tests/python/heavy_tailed.py    prints what the blocks see

Names are those of DINO's checkpoints, the spatio-temporal block under
temporal_transformer.0: what ``covey.convert`` reads.
"""

from __future__ import annotations

import math

import numpy as np

#: Levels of the massive channels, over the deviation of an ordinary channel.
MASSIVE = (90.0, 45.0, 20.0)

#: Power of the inputs' covariance that rows of a matrix have as theirs.
ALIGNED = 0.2

#: Share of a matrix's entries that know nothing of its inputs.
LOOSE = 0.2


def smooth_frame(height, width, seed=0):
    """[H, W, 3] uint8: noise with the 1 / f spectrum of photographs, and a few
    discs with edges."""
    random = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.sqrt(rows**2 + columns**2)
    frequency[0, 0] = 1
    ground = np.empty((height, width, 3))
    for channel in range(3):
        phases = np.exp(2j * np.pi * random.random(frequency.shape))
        spectrum = phases / frequency**1.2
        spectrum[0, 0] = 0
        ground[..., channel] = np.fft.irfft2(spectrum, (height, width))
    grey = ground.mean(axis=-1, keepdims=True)
    ground = 0.8 * grey / grey.std() + 0.3 * ground / ground.std()
    image = 115 + 45 * ground
    y, x = np.mgrid[:height, :width]
    for _ in range(4):
        middle = random.random(2) * (height, width)
        radius = (0.06 + 0.14 * random.random()) * min(height, width)
        inside = (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < radius**2
        image[inside] = 0.3 * image[inside] + 0.7 * random.integers(20, 236, 3)
    return image.clip(0, 255).round().astype(np.uint8)


def heavy_tailed_state(dim=384, depth=12, heads=6, patch=8, grid=28, mlp=None, seed=0, show=None):
    """A state dict of float32 arrays; see the module.

    show: called with a line of text for every block, of what it sees.
    """
    random = np.random.default_rng(seed)
    mlp = mlp or 4 * dim
    state = {}

    def heavy(*shape):
        return random.standard_t(5, shape) / math.sqrt(5 / 3)

    def lognormal(size, deviation):
        return np.exp(deviation * random.standard_normal(size))

    def matrix(rows, columns, spread=0.35):
        return heavy(rows, columns) * lognormal((rows, 1), spread) / math.sqrt(columns)

    def aligned(inputs, rows, spread=0.35):
        """A matrix with most of its weight along what the inputs vary along."""
        centred = inputs - inputs.mean(axis=0)
        level = np.sqrt((centred**2).mean(axis=0))
        centred = centred * np.minimum(1, 2 * np.median(level) / (level + 1e-12))
        values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        values = np.maximum(values, 0)
        root = (vectors * (values / values.mean()) ** (ALIGNED / 2)) @ vectors.T
        root *= math.sqrt(inputs.shape[-1]) / np.linalg.norm(root)
        columns = inputs.shape[-1]
        entries = heavy(rows, columns) @ root + LOOSE * heavy(rows, columns)
        return entries * lognormal((rows, 1), spread) / math.sqrt(columns * (1 + LOOSE**2))

    def put(name, values):
        state[name] = np.ascontiguousarray(values, np.float32)
        return state[name].astype(np.float64)

    channel = lognormal(dim, 0.5)
    massive = random.permutation(dim)[: len(MASSIVE)]
    ordinary = np.setdiff1d(np.arange(dim), massive)
    signs = np.where(random.random(len(massive)) < 0.5, -1, 1)

    # The picture, and its tokens: half the grid, hence every second position.
    side = max(2, grid // 2)
    image = smooth_frame(side * patch, side * patch, seed).astype(np.float64) / 255
    image = (image - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    patches = image.reshape(side, patch, side, patch, 3).transpose(0, 2, 4, 1, 3)
    patches = patches.reshape(side * side, 3 * patch * patch)
    # Filters are smooth: a white one would see nothing in a photograph.
    y, x = np.mgrid[:patch, :patch] / patch
    waves = random.uniform(-1.5, 1.5, (dim, 3, 2))
    filters = np.cos(
        2 * math.pi * (waves[..., :1, None] * y + waves[..., 1:, None] * x)
        + random.uniform(0, 2 * math.pi, (dim, 3, 1, 1))
    )
    filters *= heavy(dim, 3)[..., None, None]
    seen = patches @ filters.reshape(dim, -1).T
    scale = _round(channel / seen.std(axis=0))
    filters = put("patch_embed.proj.weight", filters * scale[:, None, None, None])
    bias = put("patch_embed.proj.bias", 0.3 * channel * heavy(dim) - seen.mean(axis=0) * scale)
    places = np.mgrid[:grid, :grid].reshape(2, -1).T / grid
    position = np.zeros((1 + grid * grid, dim))
    position[1:] = 0.7 * channel * np.cos(
        2 * math.pi * places @ random.uniform(-2, 2, (2, dim))
        + random.uniform(0, 2 * math.pi, dim)
    )
    position = put("pos_embed", position[None])[0]
    cls = put("cls_token", 2 * channel * heavy(1, 1, dim))[0]
    used = position[1:].reshape(grid, grid, dim)[: 2 * side : 2, : 2 * side : 2]
    used = used.reshape(-1, dim)[: side * side]
    x = patches @ filters.reshape(dim, -1).T + bias
    if len(used) == len(x):  # a grid of 1 has no second position
        x = x + used
    x = np.concatenate([cls + position[:1], x])

    def norm(prefix, x):
        """Layer norm made for what it sees: (gain, bias) put, output returned."""
        z = x - x.mean(axis=-1, keepdims=True)
        z = z / np.sqrt((z**2).mean(axis=-1, keepdims=True) + 1e-6)
        level = np.sqrt((z**2).mean(axis=0))
        gain = lognormal(dim, 0.4) / np.sqrt((z[:, ordinary] ** 2).mean())
        # The ordinary ones come half the way towards equal, the massive ones
        # down to where they are still several times the others.
        gain[ordinary] *= np.sqrt(np.median(level[ordinary]) / level[ordinary])
        target = random.uniform(4, 10, len(massive))
        gain[massive] = np.minimum(gain[massive], target / level[massive])
        gain = put(f"{prefix}.weight", _round(gain))
        return z * gain + put(f"{prefix}.bias", 0.2 * heavy(dim))

    def branch(prefix, inputs, x, share, added=None):
        """The last matrix of a branch: rows and bias scaled so that its output
        varies over the tokens by ``share`` of the residual stream's deviation."""
        weight = aligned(inputs, dim) * channel[:, None]
        out = inputs @ weight.T
        wanted = share * np.sqrt(x[:, ordinary].var(axis=0).mean())
        weight *= _round(wanted / np.sqrt(out[:, ordinary].var(axis=0).mean()))
        if added is not None:
            weight[massive] *= 2
            weight[massive, 0] = added
        mean = (inputs @ weight.T).mean(axis=0)
        bias = 0.1 * channel * heavy(dim) * wanted - mean
        if added is not None:
            bias[massive] = signs * MASSIVE * np.sqrt(x[:, ordinary].var(axis=0).mean())
        return put(f"{prefix}.weight", weight), put(f"{prefix}.bias", bias)

    d = dim // heads
    for index in range(depth):
        block = f"blocks.{index}"
        z = norm(f"{block}.norm1", x)
        weight = aligned(z, 3 * dim)
        bias = np.concatenate([0.7 * heavy(dim), 1.5 * heavy(dim), 0.2 * heavy(dim)])
        bias *= (z @ weight.T).std(axis=0)
        qkv = z @ weight.T + bias
        spreads, entropies, out = [], [], np.empty_like(x)
        for head in range(heads):
            q, k, v = (slice(i * dim + head * d, i * dim + (head + 1) * d) for i in range(3))
            logits = qkv[:, q] @ qkv[:, k].T / math.sqrt(d)
            wanted = math.exp(random.uniform(0, math.log(4)))
            scale = float(_round(math.sqrt(wanted / logits.std(axis=1).mean())))
            for part in (q, k):
                weight[part] *= scale
                bias[part] *= scale
            logits *= scale**2
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            out[:, head * d : (head + 1) * d] = p @ qkv[:, v]
            spreads.append(logits.std(axis=1).mean())
            entropies.append(-(p * np.log(p + 1e-30)).sum(axis=1).mean())
        put(f"{block}.attn.qkv.weight", weight)
        put(f"{block}.attn.qkv.bias", bias)
        weight, bias = branch(f"{block}.attn.proj", out, x, 0.4)
        if show:
            show(_line(index, x, z, ordinary, spreads, entropies))
        x = x + out @ weight.T + bias

        z = norm(f"{block}.norm2", x)
        weight = aligned(z, mlp, 0.5)
        seen = z @ weight.T
        weight *= _round(1.2 / np.median(seen.std(axis=0)))
        bias = -0.6 + 0.5 * heavy(mlp) - (z @ weight.T).mean(axis=0)
        written = index == max(0, min(depth - 2, depth // 6))
        added = None
        if written:
            # Hidden unit 0 fires for the one or two tokens of a hundred that are
            # farthest along a direction, and then by as much as 6.
            seen = z @ weight[0]
            threshold, top = np.quantile(seen, 0.985), seen.max()
            scale = _round(6 / max(top - threshold, 0.1 * seen.std()))
            weight[0] *= scale
            bias[0] = -threshold * scale
            level = np.sqrt(x[:, ordinary].var(axis=0).mean())
            added = signs * np.array(MASSIVE) * level * random.uniform(0.1, 0.3, len(massive))
        weight = put(f"{block}.mlp.fc1.weight", weight)
        bias = put(f"{block}.mlp.fc1.bias", bias)
        hidden = gelu(z @ weight.T + bias)
        weight, bias = branch(f"{block}.mlp.fc2", hidden, x, 0.4, added)
        x = x + hidden @ weight.T + bias

    norm("norm", x)
    prefix = "temporal_transformer.0"
    put(f"{prefix}.norm1.weight", lognormal(dim, 0.3))
    put(f"{prefix}.norm1.bias", 0.2 * heavy(dim))
    put(f"{prefix}.attn.qkv.weight", matrix(3 * dim, dim))
    put(f"{prefix}.attn.proj.weight", matrix(dim, dim))
    put(f"{prefix}.attn.proj.bias", 0.1 * heavy(dim))
    put(f"{prefix}.norm2.weight", lognormal(dim, 0.3))
    put(f"{prefix}.norm2.bias", 0.2 * heavy(dim))
    put(f"{prefix}.mlp.fc1.weight", matrix(4 * dim, dim))
    put(f"{prefix}.mlp.fc1.bias", 0.1 * heavy(4 * dim))
    put(f"{prefix}.mlp.fc2.weight", matrix(dim, 4 * dim))
    put(f"{prefix}.mlp.fc2.bias", 0.1 * heavy(dim))
    return state


def gelu(x):
    """x times the normal distribution function, with the error function of
    Abramowitz and Stegun 7.1.26 (1.5e-7)."""
    a = np.abs(x) / math.sqrt(2)
    t = 1 / (1 + 0.3275911 * a)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (
        -1.453152027 + t * 1.061405429))))
    tail = 0.5 * poly * np.exp(-a * a)
    return x * np.where(x > 0, 1 - tail, tail)


def _round(values):
    """To two significant digits."""
    values = np.asarray(values, np.float64)
    unit = 10.0 ** (np.floor(np.log10(np.abs(values))) - 1)
    return np.round(values / unit) * unit


def _line(index, x, z, ordinary, spreads, entropies):
    """What a block sees: the residual stream, behind its first norm, attention."""
    rms = np.sqrt((x**2).mean(axis=0))
    rest = np.median(rms)
    tokens = np.sqrt((x**2).mean(axis=1))
    peak = np.abs(z).max(axis=1) / np.sqrt((z**2).mean(axis=1))
    varying = x[:, ordinary].std(axis=0).mean() / rms[ordinary].mean()
    return (
        f"block {index:2d}  channel rms: median {rest:.2f}, largest {rms.max() / rest:.0f} times; "
        f"token rms: median {np.median(tokens):.1f}, largest {tokens.max():.1f}; "
        f"varying {varying:.2f}; behind norm1 peak over rms of a token {np.median(peak):.1f}; "
        f"logits {min(spreads):.1f} to {max(spreads):.1f}, "
        f"entropy {min(entropies):.1f} to {max(entropies):.1f} of {math.log(len(x)):.1f}"
    )


if __name__ == "__main__":
    heavy_tailed_state(show=print)
