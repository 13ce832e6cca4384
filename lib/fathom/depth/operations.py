"""What torch's operations are to a graph, by name (without overload and trailing underscore)."""

MATRICES: dict[str, tuple[int, ...]] = {  # contractions, and which operands they contract
    "linear": (0, 1),
    "mm": (0, 1),
    "bmm": (0, 1),
    "mv": (0, 1),
    "matmul": (0, 1),
    "dot": (0, 1),
    "inner": (0, 1),
    "tensordot": (0, 1),
    "einsum": (0, 1, 2, 3, 4),
    "bilinear": (0, 1, 2),
    "addmm": (1, 2),
    "addmv": (1, 2),
    "addbmm": (1, 2),
    "baddbmm": (1, 2),
    "_grouped_mm": (0, 1),
    "convolution": (0, 1),
    "_convolution": (0, 1),
    "conv1d": (0, 1),
    "conv2d": (0, 1),
    "conv3d": (0, 1),
    "conv_transpose1d": (0, 1),
    "conv_transpose2d": (0, 1),
    "conv_transpose3d": (0, 1),
}
ADDED = {"addmm": 0, "addmv": 0, "addbmm": 0, "baddbmm": 0, "linear": 2}  # what they add
ADDITIONS = {"add", "sub", "subtract", "rsub", "addcmul", "addcdiv", "lerp"}
CONCATENATIONS = {
    *("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack"),
    *("copy_into", "slice_scatter", "select_scatter", "diagonal_scatter", "as_strided_scatter"),
    *("index_put", "index_copy", "index_add", "scatter", "scatter_add", "scatter_reduce"),
    *("masked_scatter",),
}
LINKS = {"softmax", "_softmax", "log_softmax", "_log_softmax", "sigmoid"}
ACTIVATIONS = LINKS | {
    *("relu", "relu6", "leaky_relu", "rrelu", "prelu", "_prelu_kernel", "elu", "selu", "celu"),
    *("gelu", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh", "hardshrink", "softshrink"),
    *("tanh", "log_sigmoid", "logsigmoid", "softplus", "softsign", "threshold", "glu"),
    *("exp", "log", "sin", "cos", "abs", "square", "clamp", "clamp_min", "clamp_max", "sign"),
    *("erf", "atan", "_safe_softmax"),
}
NORMS = {
    *("layer_norm", "native_layer_norm", "group_norm", "native_group_norm", "instance_norm"),
    *("batch_norm", "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"),
    *("_batch_norm_impl_index", "_batch_norm_no_update", "_native_batch_norm_legit"),
    *("_native_batch_norm_legit_no_training", "rms_norm", "_fused_rms_norm"),
}
STATISTICS = {"mean", "var", "std", "var_mean", "std_mean"}  # what a norm written out divides by
SOFTMAX = {"softmax", "_softmax", "_safe_softmax"}
ATTENTION = {
    "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_attention_math",
}
LOOK_UPS = {"index", "index_select", "gather", "take_along_dim", "take", "_unsafe_index"}
EMBEDDINGS = {"embedding": (0, 1), "embedding_bag": (0, 1), "_embedding_bag": (0, 1)}
SHAPES = {  # what they return depends on the shape of what they read, not on its values
    *(
        "zeros_like",
        "ones_like",
        "full_like",
        "empty_like",
        "rand_like",
        "randn_like",
        "randint_like",
    ),
    *(
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty",
        "new_empty_strided",
        "sym_size",
        "sym_numel",
    ),
    *("_assert_tensor_metadata", "_assert_async", "_assert_scalar", "size", "numel", "bernoulli"),
}
VIEWS = {
    *("view", "_unsafe_view", "reshape", "select", "slice", "narrow", "split", "split_with_sizes"),
    *(
        "chunk",
        "unbind",
        "getitem",
        "transpose",
        "t",
        "permute",
        "unsqueeze",
        "squeeze",
        "diagonal",
    ),
    *("expand", "flatten", "unflatten", "alias", "as_strided", "movedim", "tensor_split"),
}
PIECES = {"select", "slice", "narrow", "getitem", "unbind", "chunk", "split", "split_with_sizes"}
RECURRENT = {
    *("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell"),
    *("rnn_relu_cell", "mkldnn_rnn_layer", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell"),
    *("scan", "while_loop", "associative_scan"),
}
RUNNING = {"cumsum", "cumprod", "logcumsumexp", "cummax"}
ROUTING = {
    *("topk", "nonzero", "multinomial", "masked_select", "kthvalue", "argmax", "argmin", "argsort"),
}
CONTROL = {"item", "_local_scalar_dense", "is_nonzero", "cond"}
