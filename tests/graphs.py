"""Networks that mix all layers, and the same networks in PyTorch."""

import numpy as np
from samples import rows_for

import fastnet as fn
from fastnet.contract import loading
from fastnet.contract.kinds import kinds_of
from fastnet.contract.lowering import lower

#: One of each way that layers may stand to each other: a norm before and behind an activation, an
#: activation first, blocks first, last, in a row, in each other, and one of nothing but dropout.
MIXED = {
    "norm_then_activation": [fn.Dense(9), fn.LayerNorm(), fn.ReLU(), fn.Dense(7, "tanh"),
                             fn.LayerNorm(epsilon=0.1), fn.Dense(2)],
    "front_scale": [fn.Scale(), fn.Dense(17, "mish"), fn.Scale(), fn.Dense(2), fn.Scale()],
    "norm_first": [fn.LayerNorm(), fn.Dense(5, "relu"), fn.LayerNorm(), fn.Dense(2, "sigmoid")],
    "activation_first": [fn.ReLU(), fn.Dense(5, "relu"), fn.Tanh(), fn.Dense(2), fn.Mish()],
    "dropout_first": [fn.Dropout(0.3), fn.ReLU(), fn.Dense(5), fn.Dropout(0.2), fn.ReLU(),
                      fn.Dense(2)],
    "pre_norm": [fn.Dense(8), fn.Residual([fn.LayerNorm(), fn.Dense(16, "relu"), fn.Dropout(0.25),
                 fn.Dense(8)]), fn.Residual([fn.ReLU(), fn.Dense(8, "gelu")]), fn.LayerNorm(),
                 fn.ReLU(), fn.Dense(2)],
    "block_first": [fn.Residual([fn.Dense(5, "silu"), fn.Dense(3)]), fn.Dense(2)],
    "norm_block_first": [fn.Residual([fn.LayerNorm(), fn.Scale()]), fn.Residual([fn.Scale()]),
                         fn.Dense(2)],
    "block_last": [fn.Dense(2), fn.Residual([fn.Dense(6, "relu"), fn.Dense(2, "relu")])],
    "block_of_relu": [fn.Dense(6, "relu"), fn.Residual([fn.Dense(6, "relu")]), fn.ReLU(),
                      fn.Residual([fn.Dropout(0.5)]), fn.Residual([fn.Dropout(0.0)]), fn.Dense(2)],
    "nested": [fn.Dense(5), fn.Residual([fn.Residual([fn.Dense(5, "relu"), fn.LayerNorm(0.2)]),
               fn.Residual([fn.Tanh(), fn.Scale()]), fn.Dense(5)]), fn.Dense(2)],
    "one_unit": [fn.Dense(1), fn.LayerNorm(), fn.Residual([fn.Scale(), fn.Dense(1, "tanh")]),
                 fn.Dense(4, "tanh"), fn.Dense(1), fn.Scale(), fn.Dense(2)],
    "learned": [fn.Dense(7, fn.PReLU()), fn.Dense(5, fn.Parametric("mish")), fn.PReLU(init=-0.5),
                fn.Residual([fn.Parametric(fn.ELU(alpha=0.5)), fn.Dense(5, "relu"), fn.PReLU()]),
                fn.Dense(1, fn.PReLU()), fn.Dense(2, fn.Parametric("tanh"))],
    "learned_first": [fn.PReLU(), fn.Dense(2)],
    "batch_norm": [fn.Dense(9), fn.BatchNorm(), fn.ReLU(), fn.Residual([fn.BatchNorm(0.3, 0.1),
                   fn.Dense(33, "gelu"), fn.BatchNorm(), fn.Dense(9)]), fn.Dense(2)],
    "batch_norm_first": [fn.BatchNorm(momentum=1.0), fn.Dense(1), fn.BatchNorm(), fn.Dense(2)],
    "wide": [fn.Dense(70), fn.LayerNorm(), fn.ReLU(), fn.Residual([fn.Dense(33, "relu"),
             fn.LayerNorm(), fn.Dense(70)]), fn.Dense(2)],
    "one_hot": [fn.Dense(5, "tanh"), fn.Dense(2)],
    "embed": [fn.Embed((3, "one_hot", 17)), fn.LayerNorm(), fn.Dense(9, "relu"), fn.Dense(2)],
    "embed_alone": [fn.Embed(1), fn.Dropout(0.3), fn.Dense(2, "tanh")],
    "embed_block": [fn.Embed(4, learning_rate_factor=0.5), fn.Residual([fn.Dense(6, "gelu")]),
                    fn.PReLU(), fn.Dense(2)],
    "periodic": [fn.Embed(numbers=fn.Periodic(units=3, frequencies=5)), fn.Dense(2)],
    "periodic_embed": [fn.Embed(2, fn.Periodic(2, 19, 0.3, 2.0)), fn.Scale(), fn.BatchNorm(),
                       fn.Dense(7, "silu"), fn.Dense(2)],
    "piecewise": [fn.Embed(numbers=fn.PiecewiseLinear(units=1, bins=1)), fn.Dense(2)],
    "piecewise_embed": [fn.Embed(5, fn.PiecewiseLinear(units=3, bins=6)), fn.BatchNorm(),
                        fn.Residual([fn.Dense(4, "relu"), fn.Dense(16)]), fn.Dense(2)],
}  # fmt: skip

#: The inputs of those that have other ones than three numbers.
INPUTS = {
    "one_hot": fn.Inputs(1, (3, 5)),
    "embed": fn.Inputs(2, (4, 12, 7)),
    "embed_alone": fn.Inputs(categories=(2, 30)),
    "embed_block": fn.Inputs(2, (9,)),
    "periodic_embed": fn.Inputs(4, (3, 3)),
    "piecewise_embed": fn.Inputs(2, (6, 5)),
}

#: Those that begin with an embedding.
EMBEDDED = [name for name in MIXED if name in INPUTS or isinstance(MIXED[name][0], fn.Embed)]


def mixed(name: str, loss: str = "mse") -> fn.Network:
    """One of `MIXED`; cross-entropy with a softmax behind it."""
    layers = [*MIXED[name], fn.Softmax()] if loss == "crossentropy" else MIXED[name]
    return fn.Network(INPUTS.get(name, 3), layers, loss)


def drawn(seed: int) -> fn.Network:
    """A network of layers and inputs at random."""
    generator = np.random.default_rng(seed)
    numbers = int(generator.integers(1, 5))
    sizes = tuple(generator.integers(2, 14, generator.integers(4)).tolist())
    numeric = [
        None,
        fn.Periodic(int(generator.integers(2, 6)), int(generator.integers(1, 40))),
        fn.PiecewiseLinear(int(generator.integers(1, 6)), int(generator.integers(1, 40))),
    ]
    width = int(generator.integers(1, 40))

    def some(depth: int) -> list:
        kinds = [fn.Dense(width, "gelu"), fn.LayerNorm(), fn.BatchNorm(), fn.Scale(), fn.PReLU(),
                 fn.Tanh(), fn.Dropout(0.2)]  # fmt: skip
        found = [kinds[place] for place in generator.integers(len(kinds), size=3)]
        return [*found, fn.Residual(some(depth - 1))] if depth else found

    front = fn.Embed(int(generator.integers(1, 20)), numeric[generator.integers(3)])
    layers = [front] if generator.integers(4) else []
    layers += [*some(0), fn.Dense(width), *some(2), fn.Dense(2)]
    return fn.Network(fn.Inputs(numbers, sizes), layers)


def lacks(backend: str, network: fn.Network) -> bool:
    """Whether a backend refuses the network, because it lacks an operation."""
    has = loading.load(backend).kinds
    return any(kind not in has[table] for table, kind in kinds_of(lower(network)))


def anywhere(network: fn.Network, backend: str, seed: int = 3) -> fn.Model:
    """A float64 model none of whose parameters is where it starts, but for edges."""
    front = network.layers[0]
    bins = isinstance(front, fn.Embed) and isinstance(front.numbers, fn.PiecewiseLinear)
    rows = rows_for(network, 50)[0] if bins else None
    model = fn.Model(network, backend=backend, dtype="float64", seed=seed, init_rows=rows)
    generator = np.random.default_rng([seed, model.parameters.flat.size])
    for name, piece in model.parameters.items():
        if name.endswith("variance"):
            piece[...] = generator.uniform(0.5, 2, piece.shape)
        elif not name.endswith(("weight", "edges")):
            piece += generator.uniform(-0.5, 0.5, piece.shape)
    return model


def in_torch(torch, network: fn.Network, parameters, x, training=False):
    """The prediction of a network in PyTorch, from its parameters by name, as tensors.

    In training, batch norms take the batch's statistics, and move those among the parameters.
    """
    functional = torch.nn.functional

    def activated(z, activation, get):
        match activation:
            case fn.Identity():
                return z
            case fn.Softmax():
                return functional.softmax(z, dim=1)
            case fn.PReLU():
                return functional.prelu(z, get["alpha"])
            case fn.Parametric():
                return z + get["alpha"] * (activated(z, activation.function, get) - z)
            case fn.ELU():
                return functional.elu(z, activation.alpha)
        return getattr(functional, activation.name)(z)

    def embedded(x, numeric, get):
        sizes = network.categories
        numbers, codes = x[:, : x.shape[1] - len(sizes)], x[:, x.shape[1] - len(sizes) :].long()
        if isinstance(numeric, fn.Periodic):
            waves = torch.cos(2 * torch.pi * numbers[:, :, None] * get["frequency"] + get["phase"])
            made = torch.einsum("rnf,nfu->rnu", waves, get["weight"]) + get["bias"]
            numbers = torch.cat((made, numbers[:, :, None]), dim=2).flatten(1)
        if isinstance(numeric, fn.PiecewiseLinear):
            left, right = get["edges"][:, :-1], get["edges"][:, 1:]
            way = (numbers[:, :, None] - left) / (right - left)
            low, high = torch.zeros_like(left), torch.ones_like(left)
            low[:, 0], high[:, -1] = -torch.inf, torch.inf
            way = way.clamp(low, high)
            made = torch.einsum("rnf,nfu->rnu", way, get["weight"]) + get["bias"]
            numbers = (made + numbers[:, :, None] * get["slope"]).flatten(1)
        columns = [numbers]
        for column, size in enumerate(sizes):
            if f"embedding_{column}" in get:
                columns.append(functional.embedding(codes[:, column], get[f"embedding_{column}"]))
            else:
                columns.append(functional.one_hot(codes[:, column], size)[:, 1:].to(x.dtype))
        return torch.cat(columns, dim=1)

    def through(layers, x, before):
        for index, layer in enumerate(layers):
            name = f"{before}{index}"
            get = {key.removeprefix(f"{name}."): value for key, value in parameters.items()
                   if key.rpartition(".")[0] == name}  # fmt: skip
            match layer:
                case fn.Embed():
                    x = embedded(x, layer.numbers, get)
                case fn.Dense():
                    z = functional.linear(x, get["weight"].T, get["bias"])
                    x = activated(z, layer.activation, get)
                case fn.Activate():
                    x = activated(x, layer.activation, get)
                case fn.LayerNorm():
                    x = functional.layer_norm(
                        x, x.shape[1:], get["scale"], get["shift"], layer.epsilon
                    )
                case fn.BatchNorm():
                    x = functional.batch_norm(
                        x, get["mean"], get["variance"], get["scale"], get["shift"], training,
                        layer.momentum, layer.epsilon,
                    )  # fmt: skip
                case fn.Scale():
                    x = x * get["scale"]
                case fn.Residual():
                    x = x + through(layer.layers, x, f"{name}.")
                case fn.Dropout():
                    pass
        return x

    if network.categories and not isinstance(network.layers[0], fn.Embed):
        x = embedded(x, None, {})
    return through(network.layers, x, "")
