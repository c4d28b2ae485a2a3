"""lm-evaluation-harness against `system2 serve`: the accuracy that `system2 evaluate` gives.

    python benchmarks/lm_eval_check.py --lm-eval ENV/bin/python [--n 200]

ENV is an environment of its own with `lm-eval[api]==0.4.13` and this package. A custom
generate_until task of word problems is asked of a real server through local-chat-completions
and through local-completions (prompts under the chat template, as text), graded by the task's
own grader; `system2 solve` decodes the same problems offline. Ends in one JSON line.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TASK = """task: system2_word_problems
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: generate_until
test_split: test
doc_to_text: "{{{{{field}}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: []
  max_gen_toks: 120
  temperature: 0
  do_sample: false
process_results: !function grading.process_results
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
GRADING = """from system2.tasks.answers import grade_answer


def process_results(doc, results):
    return {"acc": float(grade_answer(results[0], doc["answer"]) is True)}
"""
ENDPOINTS = {
    "local-chat-completions": ("prompt", "chat/completions", ["--apply_chat_template"]),
    "local-completions": ("rendered", "completions", []),
}


def asked(python: str, model: str, url: str, folder: Path) -> float:
    """Return the accuracy that lm-eval finds through an endpoint."""
    field, path, more = ENDPOINTS[model]
    tasks, out = folder / model, folder / f"{model}.out"
    tasks.mkdir()
    (tasks / "task.yaml").write_text(TASK.format(data=folder / "docs.jsonl", field=field))
    (tasks / "grading.py").write_text(GRADING)
    arguments = f"model=tiny,base_url={url}/v1/{path},num_concurrent=16,tokenized_requests=False"
    arguments += ",tokenizer_backend=None,max_retries=3"
    command = [python, "-m", "lm_eval", "run", "--model", model, "--model_args", arguments]
    command += ["--tasks", "system2_word_problems", "--include_path", str(tasks)]
    _ = subprocess.run([*command, "--output_path", str(out), *more], check=True, stdout=sys.stderr)
    results = json.loads(next(out.rglob("results*.json")).read_text())["results"]
    return results["system2_word_problems"]["acc,none"]


def system2(*words: object) -> dict[str, Any]:
    """Run a command of ours; return its JSON."""
    command = [sys.executable, "-m", "system2", *map(str, words), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run lm-eval and `system2 evaluate` on the same problems and print one JSON line."""
    from system2.engine.embedded import EMBEDDED
    from system2.engine.tokenizer import load_tokenizer
    from system2.store import read_problems

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lm-eval", required=True, help="a Python that has lm-eval[api]")
    parser.add_argument("--n", type=int, default=200)
    arguments = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", OPENAI_API_KEY="none")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        problems, trees = folder / "problems.jsonl", folder / "trees.jsonl"
        _ = system2("problems", "word_problems", "--n", arguments.n, "--out", problems)
        _ = system2("solve", "--problems", problems, "--out", trees, "--max-tokens", 120)
        ours = system2("evaluate", trees)["accuracy"]
        render = load_tokenizer(EMBEDDED["tiny"]).render_text
        with (folder / "docs.jsonl").open("w") as file:
            for p in read_problems(problems):
                messages = [{"role": "user", "content": p.prompt}]
                text = render(messages, has_generation_prompt=True)
                _ = file.write(
                    json.dumps({"prompt": p.prompt, "rendered": text, "answer": p.answer}) + "\n"
                )
        serve = [sys.executable, "-m", "system2", "serve", "--port", "0"]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            found = re.search(r"listening on (\S+)", server.stdout.readline())
            assert found, "the server does not start"
            theirs = {
                model: asked(arguments.lm_eval, model, found[1], folder) for model in ENDPOINTS
            }
            server.terminate()
    line = {"benchmark": "lm_eval_check", "n": arguments.n, "system2_evaluate": ours, **theirs}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
