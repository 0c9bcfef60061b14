"""The dashboards, one by one."""

from __future__ import annotations

from deploy.grafana.panels import (
    PROCESSES,
    RATE,
    Dashboard,
    Panel,
    calls,
    mean,
    of_service,
    per_second,
    process,
    quantiles,
    queue,
)

JOBS = f'{{job=~"{PROCESSES}"}}'

GPUS = [
    Panel(
        "GPUs busy",
        "percentunit",
        (("max by (job, gpu) (pequod_gpu_utilization_ratio)", "{{job}} sees {{gpu}}"),),
        "Empty where there is none. On one machine all services see the same ones.",
    ),
    Panel(
        "Memory of GPUs in use",
        "percentunit",
        (
            (
                "max by (job, gpu) (pequod_gpu_memory_used_bytes / pequod_gpu_memory_total_bytes)",
                "{{job}} sees {{gpu}}",
            ),
        ),
        "By all processes.",
    ),
    Panel(
        "Temperature of GPUs",
        "celsius",
        (("max by (job, gpu) (pequod_gpu_temperature_celsius)", "{{job}} sees {{gpu}}"),),
    ),
    Panel(
        "Power of GPUs",
        "watt",
        (("max by (job, gpu) (pequod_gpu_power_watts)", "{{job}} sees {{gpu}}"),),
    ),
]

DISKS_AND_CERTIFICATES = [
    Panel(
        "Room left on disks",
        "percentunit",
        (
            (
                "min by (job, folder) (pequod_disk_free_bytes / pequod_disk_size_bytes)",
                "{{job}} {{folder}}",
            ),
        ),
        "Of the folders that processes write to. On one machine they may all be on one disk.",
    ),
    Panel(
        "Room left on disks, bytes",
        "bytes",
        (("min by (job, folder) (pequod_disk_free_bytes)", "{{job}} {{folder}}"),),
    ),
    Panel(
        "Certificates end in",
        "s",
        (
            (
                "min by (job, certificate) (pequod_certificate_expires_timestamp_seconds) - time()",
                "{{job}} {{certificate}}",
            ),
        ),
        "The first end of each chain that a process holds. Empty without TLS.",
    ),
]

OVERVIEW = Dashboard(
    "overview",
    "Pequod / overview",
    (
        (
            "Now",
            [
                Panel("Processes up", "short", ((f"sum(up{JOBS})", ""),), is_number=True),
                Panel(
                    "Services with a healthy replica",
                    "short",
                    (("sum(max by (service) (pequod_service_up))", ""),),
                    is_number=True,
                ),
                Panel(
                    "Failed through us",
                    "percentunit",
                    (('max(pequod:faults:ratio5m{service="gateway"})', ""),),
                    is_number=True,
                ),
                Panel(
                    "Calls",
                    "reqps",
                    (('sum(pequod:requests:rate5m{service="gateway"})', ""),),
                    is_number=True,
                ),
            ],
        ),
        (
            "Calls",
            [
                Panel("Calls to each process", "reqps", per_second("pequod_requests_total", "", "service")),
                Panel(
                    "Failed through us",
                    "percentunit",
                    (("pequod:faults:ratio5m", "{{service}}"),),
                ),
                Panel("Time a call, 95 %", "s", (("pequod:request_seconds:p95", "{{service}}"),)),
                Panel(
                    "Refused by the gateway",
                    "reqps",
                    ((f"sum by (reason) (rate(pequod_rejected_total[{RATE}]))", "{{reason}}"),),
                ),
            ],
        ),
        (
            "Work",
            [
                Panel("Waiting now", "short", (("pequod:queue_depth:sum", "{{service}}"),)),
                Panel("Time waited, 95 %", "s", (("pequod:queue_seconds:p95", "{{service}}"),)),
                Panel(
                    "Tokens written", "short", (("pequod:generated_tokens:rate5m", "{{model}}"),), "A second."
                ),
                Panel(
                    "Images made", "short", (("pequod:images_generated:rate5m", "{{model}}"),), "A second."
                ),
            ],
        ),
        (
            "Processes",
            [
                Panel(
                    "CPU",
                    "short",
                    ((f"sum by (job) (rate(process_cpu_seconds_total{JOBS}[{RATE}]))", "{{job}}"),),
                ),
                Panel(
                    "Memory", "bytes", ((f"sum by (job) (process_resident_memory_bytes{JOBS})", "{{job}}"),)
                ),
                Panel(
                    "Memory of models", "bytes", (("sum by (job) (pequod_model_memory_bytes)", "{{job}}"),)
                ),
                Panel(
                    "Models that serve",
                    "short",
                    (("max by (model, version) (pequod_model_loaded)", "{{model}}:{{version}}"),),
                ),
            ],
        ),
        ("Disks and certificates", DISKS_AND_CERTIFICATES),
        ("GPUs", GPUS),
    ),
)

GATEWAY = Dashboard(
    "gateway",
    "Pequod / gateway",
    (
        calls("gateway"),
        (
            "Backends",
            [
                Panel(
                    "Up",
                    "short",
                    (("max by (service, backend) (pequod_backend_up)", "{{service}} {{backend}}"),),
                ),
                Panel("Calls under way", "short", (("sum by (service) (pequod_inflight)", "{{service}}"),)),
                Panel(
                    "Ejected as outliers",
                    "short",
                    (
                        (
                            "sum by (service, backend) (pequod_backend_ejections_total)",
                            "{{service}} {{backend}}",
                        ),
                    ),
                    "Since the gateways started.",
                ),
                Panel(
                    "Tried again on another backend",
                    "reqps",
                    (
                        (
                            f"sum by (service, outcome) (rate(pequod_retries_total[{RATE}]))",
                            "{{service}} {{outcome}}",
                        ),
                    ),
                ),
            ],
        ),
        (
            "Admission",
            [
                Panel(
                    "Waiting for a place",
                    "short",
                    (('sum by (instance) (pequod_queue_depth{service="gateway"})', "{{instance}}"),),
                ),
                Panel("Refused, by reason", "reqps", per_second("pequod_rejected_total", "", "reason")),
                Panel("Refused, by service", "reqps", per_second("pequod_rejected_total", "", "service")),
                Panel(
                    "Calls that a service gets at a time",
                    "short",
                    (("sum by (service) (pequod_places)", "{{service}}"),),
                    "As found out from the waiting times that it reports.",
                ),
                Panel(
                    "Usage not in the database yet",
                    "short",
                    (("sum by (instance) (pequod_usage_pending)", "{{instance}}"),),
                    "Records.",
                ),
            ],
        ),
        process("gateway"),
    ),
)

TOKENIZER = of_service("tokenizer")

SAMPLER = of_service(
    "sampler",
    (
        "Text",
        [
            Panel(
                "Time to the first token", "s", quantiles("pequod_time_to_first_token_seconds", "", "model")
            ),
            Panel("Time between tokens", "s", quantiles("pequod_inter_token_seconds", "", "model")),
            Panel("Tokens written", "short", per_second("pequod_generated_tokens_total", "", "model")),
            Panel("Tokens read", "short", per_second("pequod_prompt_tokens_total", "", "model")),
        ],
    ),
    (
        "Cache",
        [
            Panel(
                "Sequences in steps",
                "short",
                (("sum by (instance) (pequod_sequences_running)", "{{instance}}"),),
            ),
            Panel(
                "KV cache in use",
                "percentunit",
                (("max by (model) (pequod_kv_cache_used_ratio)", "{{model}}"),),
            ),
            Panel(
                "Prompt tokens from the cache",
                "short",
                per_second("pequod_prefix_cache_hits_total", "", "model"),
            ),
            Panel(
                "Sequences that lost their place",
                "short",
                per_second("pequod_preemptions_total", "", "model"),
            ),
        ],
    ),
)

DIFFUSION = of_service(
    "diffusion",
    (
        "Images",
        [
            Panel("Made", "short", per_second("pequod_images_generated_total", '{job="diffusion"}', "model")),
            Panel("Whose callers left", "short", per_second("pequod_images_cancelled_total", "", "model")),
            Panel(
                "Rows in the call now", "short", (("sum by (instance) (pequod_active_rows)", "{{instance}}"),)
            ),
            Panel("Guided rows", "short", per_second("pequod_guided_rows_total", "", "model")),
            Panel(
                "Adapters, new to the network or not",
                "short",
                per_second("pequod_adapter_uses_total", "", "outcome"),
            ),
        ],
    ),
)

GAN = of_service(
    "gan",
    (
        "Images",
        [
            Panel("Made", "short", per_second("pequod_images_generated_total", '{job="gan"}', "model")),
            Panel(
                "Projections under way",
                "short",
                (("sum by (instance) (pequod_projections_running)", "{{instance}}"),),
            ),
            Panel("Steps of projections", "short", per_second("pequod_projection_steps_total", "", "model")),
        ],
    ),
)

FINETUNE = Dashboard(
    "finetune",
    "Pequod / finetune",
    (
        calls("finetune"),
        (
            "Data sets",
            [
                Panel(
                    "Bytes received", "Bps", ((f"sum(rate(pequod_upload_bytes_total[{RATE}]))", "uploads"),)
                ),
                Panel(
                    "Checked since the start",
                    "short",
                    (("sum by (outcome) (pequod_datasets_total)", "{{outcome}}"),),
                ),
            ],
        ),
        queue("finetune"),
        process("finetune"),
    ),
)

JOBS_BOARD = Dashboard(
    "jobs",
    "Pequod / jobs",
    (
        (
            "Jobs",
            [
                Panel("Not ended", "short", (("pequod:jobs:max", "{{state}}"),)),
                Panel(
                    "Ended since the start",
                    "short",
                    (("sum by (recipe, outcome) (pequod_jobs_ended_total)", "{{recipe}} {{outcome}}"),),
                ),
                Panel("Length, mean", "s", mean("pequod_job_seconds", "", "recipe", "{{recipe}}")),
                Panel(
                    "Failed in the last hour",
                    "short",
                    (('sum(increase(pequod_jobs_ended_total{outcome="failed"}[1h])) or vector(0)', ""),),
                    is_number=True,
                ),
            ],
        ),
        (
            "Around them",
            [
                Panel("Webhooks", "short", per_second("pequod_deliveries_total", "", "outcome")),
                Panel(
                    "Memory of the orchestrators",
                    "bytes",
                    (('process_resident_memory_bytes{job="finetune"}', "{{instance}}"),),
                ),
            ],
        ),
    ),
)

DASHBOARDS = (OVERVIEW, GATEWAY, TOKENIZER, SAMPLER, DIFFUSION, GAN, FINETUNE, JOBS_BOARD)
