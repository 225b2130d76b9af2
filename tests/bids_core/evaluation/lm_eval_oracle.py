"""Own test rows through lm-eval's evaluator: the oracle of `bids_core.evaluation.own_tasks`.

lm-eval keeps the books here: requests, filters, metrics, means, standard errors. Its Hugging Face
model is given our two forward passes, since its own would tokenize the rows anew.
"""

from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import Task, TaskConfig
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks.ifeval.utils import agg_inst_level_acc

from bids_core.evaluation.answers import compile_pattern, extract_answer
from bids_core.evaluation.choices import choice_log_likelihoods
from bids_core.evaluation.generation import StopTexts, cut_at, generate
from bids_core.evaluation.metrics import METRICS
from bids_core.evaluation.suites.quiet import offline_and_quiet

IFEVAL = {
    "prompt_level_strict_acc": mean,
    "inst_level_strict_acc": agg_inst_level_acc,
    "prompt_level_loose_acc": mean,
    "inst_level_loose_acc": agg_inst_level_acc,
}


class RowModel(HFLM):
    """lm-eval's Hugging Face model, with forward passes over our rows' own token ids."""

    def __init__(self, model, tokenizer, *, rows, stop_ids, tokens_per_batch):
        super().__init__(pretrained=model, tokenizer=tokenizer, backend="causal")
        self._rows, self._stop_ids, self._budget = rows, stop_ids, tokens_per_batch

    def loglikelihood(self, requests, disable_tqdm=True):
        by_row = {}
        for place, request in enumerate(requests):
            by_row.setdefault((request.task_name, request.doc["index"]), []).append(place)
        groups = [
            tuple(self._row(requests[p]).choice_examples[requests[p].idx] for p in places)
            for places in by_row.values()
        ]
        scored = choice_log_likelihoods(self.model, groups, tokens_per_batch=self._budget)
        found = {}
        for places, group in zip(by_row.values(), scored, strict=True):
            pairs = [(choice.log_likelihood, choice.is_greedy) for choice in group]
            found.update(zip(places, pairs, strict=True))
        return [found[place] for place in range(len(requests))]

    def generate_until(self, requests, disable_tqdm=True):
        rows = [self._row(request) for request in requests]
        answers = generate(
            self.model,
            [row.last for row in rows],
            max_new_tokens=[int(request.args[1]["max_gen_toks"]) for request in requests],
            stop_ids=self._stop_ids,
            tokens_per_batch=self._budget,
            stop_texts=StopTexts([request.args[1]["until"] for request in requests], self._decode),
        )
        return [
            cut_at(self._decode(answer.tokens), request.args[1]["until"])
            .lstrip()
            .removeprefix(row.opening)
            for request, row, answer in zip(requests, rows, answers, strict=True)
        ]

    def _decode(self, tokens):
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

    def _row(self, request):
        return self._rows[request.task_name][request.doc["index"]]


class RowTask(Task):
    """One test task: its documents are our rows."""

    VERSION = 1

    def __init__(self, task, rows, judge):
        is_choice = task.metric == "multiple_choice"
        self.OUTPUT_TYPE = "multiple_choice" if is_choice else "generate_until"
        self.metric = METRICS[task.metric].main
        self._metrics = list(IFEVAL) if task.metric == "ifeval" else [self.metric]
        self._rows, self._judge, self._pattern = rows, judge, compile_pattern(task)
        self._documents = [
            {
                "index": index,
                "prompt": row.prompt_text,
                "reference": row.reference,
                "choices": list(row.choices),
            }
            for index, row in enumerate(rows)
        ]
        super().__init__()
        limits = {"until": list(task.stop), "max_gen_toks": task.max_new_tokens}
        self._config = TaskConfig(
            task=task.task,
            output_type=self.OUTPUT_TYPE,
            num_fewshot=0,
            generation_kwargs=None if is_choice else {**limits, "do_sample": False},
        )

    def download(self, *_, **__):
        pass

    def has_training_docs(self):
        return False

    def has_validation_docs(self):
        return False

    def has_test_docs(self):
        return True

    def test_docs(self):
        return self._documents

    def doc_to_text(self, doc):
        return doc["prompt"]

    def doc_to_target(self, doc):
        return doc["reference"]

    def construct_requests(self, doc, ctx, **_):
        metadata = (self.config.task, doc["index"], 1)
        if self.OUTPUT_TYPE == "generate_until":
            kind, arguments = "generate_until", [(ctx, dict(self.config.generation_kwargs))]
        else:
            kind, arguments = "loglikelihood", [(ctx, choice) for choice in doc["choices"]]
        return [
            Instance(request_type=kind, doc=doc, arguments=pair, idx=position, metadata=metadata)
            for position, pair in enumerate(arguments)
        ]

    def build_all_requests(self, **_):
        nested = [self.construct_requests(doc, doc["prompt"]) for doc in self._documents]
        self._instances = [request for requests in nested for request in requests]

    def process_results(self, doc, results):
        if self._judge is not None:
            return self._judge(self._rows[doc["index"]], results[0])
        return {self.metric: float(self.predicted(doc, results) == doc["reference"])}

    def predicted(self, doc, results):
        if self.OUTPUT_TYPE == "generate_until":
            return extract_answer(results[0], self._pattern)
        best = max(range(len(results)), key=lambda index: results[index][0])
        return doc["choices"][best]

    def aggregation(self):
        return {name: IFEVAL.get(name, mean) for name in self._metrics}

    def higher_is_better(self):
        return dict.fromkeys(self._metrics, True)


def score(model, tokenizer, tasks, plan, *, stop_ids, tokens_per_batch):
    """Return, by task: score, standard error, other metrics, row scores and predictions."""
    with offline_and_quiet():
        made = {t.task: RowTask(t, plan.rows[t.task], plan.judges.get(t.task)) for t in tasks}
        wrapped = RowModel(
            model, tokenizer, rows=plan.rows, stop_ids=stop_ids, tokens_per_batch=tokens_per_batch
        )
        results = evaluate(
            lm=wrapped,
            task_dict={"tasks": made, "groups": {}, "group_map": {}},
            bootstrap_iters=1,  # switches standard errors on; that of a mean needs no bootstrap
            log_samples=True,
        )
    found = {}
    for name, task in made.items():
        samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
        values = results["results"][name]
        found[name] = {
            "score": values[f"{task.metric},none"],
            "stderr": values[f"{task.metric}_stderr,none"],
            "more": {o: values[f"{o},none"] for o in task.aggregation() if o != task.metric},
            "row_scores": [float(sample[task.metric]) for sample in samples],
            "predictions": [task.predicted(s["doc"], s["filtered_resps"]) for s in samples],
        }
    return found
