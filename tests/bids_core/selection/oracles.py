"""Slow, obvious forms of the selection methods, in plain numpy and Python loops."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def add_rows(rows):
    """Sum over axis 0, one row after the other (numpy's order for C-ordered float64, M > 1)."""
    total = np.zeros(rows.shape[1])
    for row in rows:
        total = total + row
    return total


def zscore(matrix):
    matrix = np.asarray(matrix, dtype=np.float64)
    mean = add_rows(matrix) / len(matrix)
    return (matrix - mean) / np.sqrt(add_rows((matrix - mean) ** 2) / len(matrix))


def literal_bids(z, budget, mean_weight=None):
    """Follow METHOD.md word for word on an already normalised [N, M] float64 matrix."""
    picked, utilities, columns = [], [], []
    for _ in range(budget):
        mean = add_rows(z[picked]) / len(picked) if picked else np.zeros(z.shape[1])
        if mean_weight is not None:  # bids_cautious; not in the paper
            mean = mean * mean_weight
        utility = z - mean
        utility[picked] = -np.inf
        row, column = np.unravel_index(utility.argmax(), utility.shape)  # the lowest row of ties
        picked.append(int(row))
        utilities.append(utility[row, column])
        columns.append(int(column))
    return picked, utilities, columns


def lowered_by_harm(z, weight):
    """Take `weight` times the mean of its negative parts off every entry of a row."""
    return np.array([
        [value - weight * np.mean([max(0.0, -other) for other in row]) for value in row]
        for row in z
    ])  # fmt: skip


def bids_cautious(z, budget, weight, mean_weight):
    """Follow the equation of `bids_cautious` on z: harm off the candidates, not off the mean."""
    picked = []
    for _ in range(budget):
        mean = add_rows(z[picked]) / len(picked) if picked else np.zeros(z.shape[1])
        worth = [
            -np.inf if i in picked
            else max(z[i] - mean_weight * mean) - weight * np.mean([max(0.0, -v) for v in z[i]])
            for i in range(len(z))
        ]  # fmt: skip
        picked.append(int(np.argmax(worth)))
    return picked


def instance_max(z, budget):
    scores = [max(row) for row in z]
    return sorted(range(len(z)), key=lambda i: (-scores[i], i))[:budget]


def less(matrix, tasks, subtasks, budget):
    scores = []
    for row in np.asarray(matrix, dtype=np.float64):
        of_task = {}
        for task in dict.fromkeys(tasks):
            means = []
            for subtask in dict.fromkeys(subtasks):
                columns = [j for j in range(len(row)) if (tasks[j], subtasks[j]) == (task, subtask)]
                if columns:
                    means.append(np.mean(row[columns]))
            of_task[task] = max(means)
        scores.append(max(of_task.values()))
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:budget]


def task_max(matrix, tasks, budget):
    scores = [
        max(
            np.sum([row[j] for j in range(len(row)) if tasks[j] == task])
            for task in dict.fromkeys(tasks)
        )
        for row in np.asarray(matrix, dtype=np.float64)
    ]
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:budget]


def round_robin(matrix, budget):
    """Columns in turn take their highest row that is left, the lowest of equals."""
    left, picked = set(range(len(matrix))), []
    for step in range(budget):
        column = step % len(matrix[0])
        row = min(left, key=lambda i: (-matrix[i][column], i))
        left.remove(row)
        picked.append(row)
    return picked


def task_scores(matrix, tasks, subtasks):
    """Each row's LESS score for each task: max over subtasks of the mean over instances."""
    labels = list(zip(tasks, subtasks, strict=True))
    return [
        [
            max(
                np.mean([row[j] for j, label in enumerate(labels) if label == (task, subtask)])
                for subtask in dict.fromkeys(s for t, s in labels if t == task)
            )
            for task in dict.fromkeys(tasks)
        ]
        for row in np.asarray(matrix, dtype=np.float64)
    ]


def knn_uniform(matrix, budget, neighbours, alpha, c):
    """TSDS's algorithm 1, with 1 - influence as the distance."""
    matrix = np.asarray(matrix, dtype=np.float64)
    n_rows, n_columns = matrix.shape
    nearest = [
        sorted(range(n_rows), key=lambda i: (-matrix[i, j], i))[:neighbours]
        for j in range(n_columns)
    ]
    k = 1
    while k < neighbours:
        gaps = sum(
            (1 - matrix[nearest[j][k], j]) - (1 - matrix[nearest[j][m], j])
            for j in range(n_columns)
            for m in range(k)
        )
        if alpha / c * gaps >= (1 - alpha) * n_columns:
            break
        k += 1
    mass = [0] * n_rows
    for rows in nearest:
        for row in rows[:k]:
            mass[row] += 1
    order = sorted(range(n_rows), key=lambda i: (-mass[i], -max(matrix[i]), i))
    return order[:budget], k


def dsir_log_weights(texts, validation_texts, buckets, bucket_of):
    """Word by word, in dictionaries."""
    import re

    def grams(text):
        words = re.findall(r"\w+|[^\w\s]+", text.lower())
        return [bucket_of(g) for g in words + [f"{a} {b}" for a, b in pairwise(words)]]

    def shares(collection):
        counts = dict.fromkeys(range(buckets), 0)
        for text in collection:
            for gram in grams(text):
                counts[gram] += 1
        return {gram: count / sum(counts.values()) for gram, count in counts.items()}

    pool, target = shares(texts), shares(validation_texts)
    return [
        sum(np.log(target[gram] + 1e-8) - np.log(pool[gram] + 1e-8) for gram in grams(text))
        for text in texts
    ]
