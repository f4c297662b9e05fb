"""The networks of the course, which notebooks 04 and 05 build in the open, cell by cell."""

from collections.abc import Sequence

from course_utils.checks import whole_number

import keras
from keras import layers, regularizers


def matrix_factorization(
    n_users: int,
    n_items: int,
    K: int = 200,
    *,
    table_l2: float = 0.0,
    lookup_l2: float = 0.0,
    bias_lookup_l2: float = 0.0,
    mu: float = 0.0,
) -> keras.Model:
    """Build matrix factorization with biases: rating = mu + b_u + b_i + P_u . Q_i (built in notebook 04).

    >>> matrix_factorization(n_users=944, n_items=1683, K=200).count_params()
    528027

    With ``K=200, table_l2=0.01`` and the sizes 944 and 1683 it is the network of the course's source, with
    528,027 parameters. The rating formula is that of Koren, Bell and Volinsky, "Matrix Factorization
    Techniques for Recommender Systems", IEEE Computer 42(8), 2009.

    Args:
        n_users: rows of P: the largest user id plus one.
        n_items: rows of Q: the largest movie id plus one.
        K: number of latent factors.
        table_l2: L2 penalty on every number in all four tables, at every step (the source's way).
        lookup_l2: L2 penalty on the vectors P_u and Q_i that a batch looks up, averaged over the batch.
        bias_lookup_l2: the same for b_u and b_i.
        mu: a constant to add to every prediction. With 0 the network predicts rating minus mean.

    Returns:
        An uncompiled model with two integer inputs of shape (batch, 1), ``user_id`` and ``movie_id``, and one
        output of shape (batch, 1).

    Raises:
        ValueError: for sizes below 1, penalties below 0 and numbers that are not whole.
    """
    user_id, movie_id, P_u, Q_i, b_u, b_i = _four_embeddings(
        n_users, n_items, K, table_l2=table_l2, lookup_l2=lookup_l2, bias_lookup_l2=bias_lookup_l2
    )
    dot = layers.Dot(axes=2, name="dot")([P_u, Q_i])
    rating = layers.Flatten(name="rating")(layers.Add(name="add")([dot, b_u, b_i]))
    return _finish(user_id, movie_id, rating, mu, "matrix_factorization")


def deep_model(
    n_users: int,
    n_items: int,
    K: int = 200,
    *,
    hidden: Sequence[int] = (2048, 256),
    activation: str = "linear",
    dropout: float = 0.0,
    table_l2: float = 0.0,
    lookup_l2: float = 0.0,
    bias_lookup_l2: float = 0.0,
    mu: float = 0.0,
) -> keras.Model:
    """Build the deep network: concatenate P_u, Q_i, b_u, b_i -> Dense layers -> one number (of notebook 05).

    With ``K=200, hidden=(2048, 256), activation="linear", table_l2=0.01`` and the sizes 944 and 1683 it is
    the network of the course's source, with 1,878,172 parameters.

    Args:
        n_users: rows of P: the largest user id plus one.
        n_items: rows of Q: the largest movie id plus one.
        K: number of latent factors.
        hidden: width of each hidden Dense layer.
        activation: activation of the hidden layers, for example "linear" or "relu".
        dropout: share of the numbers set to zero before each Dense layer during training, from 0 to below 1.
        table_l2: L2 penalty on every number in all four tables, at every step (the source's way).
        lookup_l2: L2 penalty on the vectors P_u and Q_i that a batch looks up, averaged over the batch.
        bias_lookup_l2: the same for b_u and b_i.
        mu: a constant to add to every prediction. With 0 the network predicts rating minus mean.

    Returns:
        An uncompiled model with two integer inputs of shape (batch, 1), ``user_id`` and ``movie_id``, and one
        output of shape (batch, 1).

    Raises:
        ValueError: for sizes below 1, penalties below 0, a dropout outside [0, 1) and numbers that are not
            whole.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, but it is {dropout}.")
    user_id, movie_id, P_u, Q_i, b_u, b_i = _four_embeddings(
        n_users, n_items, K, table_l2=table_l2, lookup_l2=lookup_l2, bias_lookup_l2=bias_lookup_l2
    )
    flat = [layers.Flatten()(vector) for vector in (P_u, Q_i, b_u, b_i)]
    x = layers.Concatenate(name="concatenate")(flat)
    for number, width in enumerate(hidden, start=1):
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout_{number}")(x)
        x = layers.Dense(whole_number(width, "hidden"), name=f"dense_{number}")(x)
        x = layers.Activation(activation, name=f"activation_{number}")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout_last")(x)
    rating = layers.Dense(1, name="rating")(x)
    return _finish(user_id, movie_id, rating, mu, "deep_model")


def _four_embeddings(
    n_users: int, n_items: int, K: int, *, table_l2: float, lookup_l2: float, bias_lookup_l2: float
) -> tuple:
    """Return the two inputs and the four looked-up vectors, of shapes (batch, 1, K) and (batch, 1, 1)."""
    for name, value in (("table_l2", table_l2), ("lookup_l2", lookup_l2), ("bias_lookup_l2", bias_lookup_l2)):
        if value < 0:
            raise ValueError(f"{name} must not be negative, but it is {value}.")
    n_users, n_items, K = (
        whole_number(n_users, "n_users"),
        whole_number(n_items, "n_items"),
        whole_number(K, "K"),
    )

    def embedding(rows: int, width: int, per_lookup: float, name: str) -> layers.Embedding:
        return layers.Embedding(
            rows,
            width,
            embeddings_regularizer=regularizers.L2(table_l2) if table_l2 else None,
            # Keras divides an activity penalty by the batch size: the mean over the ratings in the batch.
            activity_regularizer=regularizers.L2(per_lookup) if per_lookup else None,
            name=name,
        )

    user_id = keras.Input(shape=(1,), dtype="int32", name="user_id")
    movie_id = keras.Input(shape=(1,), dtype="int32", name="movie_id")
    P_u = embedding(n_users, K, lookup_l2, "P")(user_id)
    Q_i = embedding(n_items, K, lookup_l2, "Q")(movie_id)
    b_u = embedding(n_users, 1, bias_lookup_l2, "b_u")(user_id)
    b_i = embedding(n_items, 1, bias_lookup_l2, "b_i")(movie_id)
    return user_id, movie_id, P_u, Q_i, b_u, b_i


def _finish(user_id, movie_id, rating, mu: float, name: str) -> keras.Model:
    """Add the constant mu where there is one, and close the model."""
    if mu:
        rating = layers.Rescaling(scale=1.0, offset=float(mu), name="add_mu")(rating)
    return keras.Model(inputs=[user_id, movie_id], outputs=rating, name=name)
