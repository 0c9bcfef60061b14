"""Every overlay renders, and every object has the shape that its API takes."""

from __future__ import annotations

import json

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.contract.deploy.crds import SPECS
from tests.contract.deploy.manifests import COMPONENTS, K8S, OVERLAYS, of_kind, rendered

KUBERNETES = ("1.31", "1.37")
"""The oldest version that has all we use, and the newest whose schemas are known."""
ANNOTATION_BYTES = 262_144
"""Of a last-applied annotation, which holds an object as JSON."""


def is_custom(manifest):
    return (manifest["apiVersion"], manifest["kind"]) in SPECS


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_every_object(overlay, version):
    for manifest in rendered(overlay):
        if not is_custom(manifest):
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_custom_resources_have_their_projects_shape(overlay):
    for manifest in filter(is_custom, rendered(overlay)):
        jsonschema.validate(manifest.get("spec", {}), SPECS[manifest["apiVersion"], manifest["kind"]])


def test_a_misspelt_field_is_noticed():
    """Strictness is what makes the two tests above worth having."""
    (deployment, *_) = of_kind(rendered("cpu"), "Deployment")
    probe = json.loads(json.dumps(deployment))
    (container, *_) = probe["spec"]["template"]["spec"]["containers"]
    container["readinessProb"] = container.pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError, match="readinessProb"):
        kubernetes_validate.validate(probe, KUBERNETES[-1], strict=True)
    (scaled, *_) = of_kind(rendered("keda"), "ScaledObject")
    spec = {**scaled["spec"], "maxReplicas": 3}
    with pytest.raises(jsonschema.ValidationError, match="maxReplicas"):
        jsonschema.validate(spec, SPECS[scaled["apiVersion"], "ScaledObject"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_are_there_once_and_in_one_namespace(overlay):
    manifests = rendered(overlay)
    names = [(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(names) == len(set(names))
    everywhere = {"Namespace", "ResourceFlavor", "ClusterQueue"}
    for each in manifests:
        if each["kind"] not in everywhere:
            assert each["metadata"]["namespace"] == "pequod", each["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubectl_apply_can_keep_every_object(overlay):
    for each in rendered(overlay):
        assert len(json.dumps(json.dumps(each))) < ANNOTATION_BYTES, each["metadata"]["name"]


def test_every_component_is_in_an_overlay_or_explained():
    used = {
        path.rpartition("/")[2]
        for file in [*K8S.glob("overlays/*/kustomization.yaml"), *K8S.glob("components/*/kustomization.yaml")]
        for path in yaml.safe_load(file.read_text()).get("components", [])
    }
    # Of one's own choice: TLS, traces, whether services fetch from the internet, what goes by night.
    assert set(COMPONENTS) - used == {"gc", "hub", "mtls", "traces"}
