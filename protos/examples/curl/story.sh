#!/usr/bin/env bash
# A completion, a stream of JSON lines, a stream as OpenAI's clients have it: story.sh [URL [KEY]]
set -euo pipefail
url=${1:-http://127.0.0.1:8080}
headers=(-H 'content-type: application/json')
if [ -n "${2:-}" ]; then headers+=(-H "authorization: Bearer $2"); fi

ask() { # path, body
  curl --silent --show-error --fail-with-body --no-buffer "${headers[@]}" "$url/$1" -d "$2"
  echo
}

ask pequod.sampler.v1.SamplerService/Generate \
  '{"model": "moby-ngram", "prompt": "THE ", "ngram": {"order": 3}, "sampling": {"seed": 7}, "stopping": {"maxTokens": 40}}'
ask pequod.sampler.v1.SamplerService/GenerateStream \
  '{"prompt": "The old captain", "sampling": {"seed": 7}, "stopping": {"maxTokens": 40}}'
ask v1/completions \
  '{"model": "storyteller", "prompt": "The old captain", "seed": 7, "max_tokens": 40, "stream": true}'
