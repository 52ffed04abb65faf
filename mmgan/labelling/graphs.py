"""Sparse neighbour graphs, and labels spread over them."""

import numpy as np
from scipy.sparse import csr_array, diags_array
from sklearn.neighbors import NearestNeighbors

TOLERANCE = 1e-5
MOST_STEPS = 500


def neighbour_graph(points: np.ndarray, neighbours: int = 10) -> csr_array:
    """Return the symmetric graph (N, N) of points (N, D) with weights exp(-4 d^2 / d_k^2), d_k the distance to the k-th neighbour.

    A pair that only one of the two counts among its neighbours has half of that weight. Paper: https://arxiv.org/abs/2006.11184.
    """
    n, k = len(points), min(neighbours, len(points) - 1)
    distance, index = NearestNeighbors(n_neighbors=k).fit(points).kneighbors()
    reach = np.maximum(distance[:, -1:], np.finfo(float).tiny)  # 0 among copies
    weights = np.exp(-4 * (distance / reach) ** 2)
    graph = csr_array((weights.ravel(), (np.repeat(np.arange(n), k), index.ravel())), shape=(n, n))
    return (graph + graph.T) / 2


def spread_labels(graph: csr_array, seeds: np.ndarray, alpha: float) -> np.ndarray:
    """Return (I - alpha S)^-1 `seeds` (N, K), with S the graph (N, N) normalised by its degrees, by iteration.

    Paper: Zhou et al. 2004, https://papers.nips.cc/paper/2506-learning-with-local-and-global-consistency.
    """
    degree = np.maximum(graph.sum(axis=1), np.finfo(float).tiny)
    scale = diags_array(1 / np.sqrt(degree))
    normalised = (scale @ graph @ scale).tocsr()
    found = seeds
    for _ in range(MOST_STEPS):
        before, found = found, alpha * (normalised @ found) + seeds
        if np.abs(found - before).max() < TOLERANCE * np.abs(found).max():
            break
    return found
