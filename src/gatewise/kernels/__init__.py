"""The narrow waist: the kernels, in NumPy and in C, and who chooses between them.

``kernels.numpy`` and ``kernels.native`` have the same functions, with the same signatures
and docstrings. A kernel runs one layer in one direction over a whole sequence. It trusts
its arguments: shapes and dtypes were checked above.

Rows
    Sequences are ``(time, batch, features)`` with contiguous features; time and batch may
    have any stride. A ragged batch holds only the steps that exist: its sequences are
    sorted by falling length, its arrays are ``(1, total_steps, features)`` with the rows of
    one time step after those of the step before, and ``batch_sizes[t]`` says how many rows
    step ``t`` has. ``batch_sizes=None`` means a plain batch.
State
    A tuple of ``(batch, features)`` arrays, ``(h,)`` or for the LSTM ``(h, c)``, which is
    read as the initial state and overwritten with the final one.
Cells
    ``"rnn"``, ``"lstm"``, ``"gru"`` (the reset gate applied after the recurrent product)
    and ``"gru_reset_before"`` (before it). Gates stand in PyTorch's order: LSTM i f g o,
    GRU r z n.

What there is of cells, formats of weights and activations stands in the tables ``cells``,
``formats`` and ``activations``.
"""
