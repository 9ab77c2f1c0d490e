// Package kubernetes holds the manifests against Kubernetes's own types, against each other, and against docker-compose.yml:
// as far as that goes without a cluster.
package kubernetes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const root = "../../.."

// What kustomize makes of the manifests, by kind and name; a generated name ends with the hash of what it holds.
type rendered struct {
	pods     map[string]core.PodTemplateSpec
	claims   map[string][]core.PersistentVolumeClaim
	services map[string]core.Service
	// Keys by name of a ConfigMap or Secret.
	maps, secrets map[string]map[string]bool
}

// copyOf is the checkout's manifests and the files that they take in, in a folder of the test's own.
func copyOf(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, part := range []string{"deploy", "docker"} {
		if err := os.CopyFS(filepath.Join(folder, part), os.DirFS(filepath.Join(root, part))); err != nil {
			t.Fatal(err)
		}
	}
	manifests := filepath.Join(folder, "deploy", "kubernetes")
	if err := os.RemoveAll(filepath.Join(manifests, "secrets.env")); err != nil {
		t.Fatal(err)
	}
	return manifests
}

func makeSecrets(t *testing.T, manifests string) {
	t.Helper()
	said, err := exec.Command(filepath.Join(manifests, "make-secrets.sh")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
}

func render(t *testing.T) rendered {
	t.Helper()
	manifests := copyOf(t)
	makeSecrets(t, manifests)
	found, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), manifests)
	if err != nil {
		t.Fatal(err)
	}
	all := rendered{
		map[string]core.PodTemplateSpec{}, map[string][]core.PersistentVolumeClaim{}, map[string]core.Service{},
		map[string]map[string]bool{}, map[string]map[string]bool{},
	}
	for _, resource := range found.Resources() {
		text := resource.MustYaml()
		if kind := resource.GetKind(); kind != "Namespace" && resource.GetNamespace() != "spanflow" {
			t.Errorf("%s %s is in the namespace %q", kind, resource.GetName(), resource.GetNamespace())
		}
		all.add(t, resource.GetKind(), text)
	}
	return all
}

func (all *rendered) add(t *testing.T, kind, text string) {
	t.Helper()
	switch kind {
	case "Namespace":
		decode(t, text, &core.Namespace{})
	case "PersistentVolumeClaim":
		claim := decode(t, text, &core.PersistentVolumeClaim{})
		all.claims[claim.Name] = append(all.claims[claim.Name], *claim)
	case "Service":
		service := decode(t, text, &core.Service{})
		all.services[service.Name] = *service
	case "ConfigMap":
		made := decode(t, text, &core.ConfigMap{})
		all.maps[made.Name] = keys(made.Data)
	case "Secret":
		made := decode(t, text, &core.Secret{})
		all.secrets[made.Name] = keys(made.Data)
	case "StatefulSet":
		set := decode(t, text, &apps.StatefulSet{})
		all.pods[set.Name] = set.Spec.Template
		all.claims[set.Name] = set.Spec.VolumeClaimTemplates
		selects(t, set.Name, set.Spec.Selector.MatchLabels, set.Spec.Template.Labels)
	case "Deployment":
		one := decode(t, text, &apps.Deployment{})
		all.pods[one.Name] = one.Spec.Template
		selects(t, one.Name, one.Spec.Selector.MatchLabels, one.Spec.Template.Labels)
	default:
		t.Errorf("no type is known here for a %s", kind)
	}
}

// decode reads text as the type that the Kubernetes API has; a field that it does not know is an error.
func decode[T any](t *testing.T, text string, into *T) *T {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return into
}

func keys[V any](data map[string]V) map[string]bool {
	found := map[string]bool{}
	for key := range data {
		found[key] = true
	}
	return found
}

func selects(t *testing.T, name string, selector, labels map[string]string) {
	t.Helper()
	if len(selector) == 0 {
		t.Errorf("%s selects everything", name)
	}
	for key, value := range selector {
		if labels[key] != value {
			t.Errorf("%s selects %s=%s, and its pods have %v", name, key, value, labels)
		}
	}
}

func containers(pod core.PodTemplateSpec) []core.Container {
	return append(append([]core.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...)
}

func TestEveryObjectIsOneThatTheAPIKnows(t *testing.T) {
	all := render(t)
	for _, name := range []string{"kafka", "clickhouse", "stream-job", "prometheus", "grafana"} {
		if _, there := all.pods[name]; !there {
			t.Errorf("nothing runs %s", name)
		}
		if _, there := all.services[name]; !there {
			t.Errorf("nothing leads to %s", name)
		}
	}
}

func TestWhatAPodNamesIsThere(t *testing.T) {
	all := render(t)
	for name, pod := range all.pods {
		volumes := map[string]bool{}
		for _, claim := range all.claims[name] {
			volumes[claim.Name] = true
		}
		for _, volume := range pod.Spec.Volumes {
			volumes[volume.Name] = true
			if made := volume.ConfigMap; made != nil && all.maps[made.Name] == nil {
				t.Errorf("%s: there is no ConfigMap %s", name, made.Name)
			}
			if made := volume.Secret; made != nil {
				for _, item := range made.Items {
					all.needsSecret(t, name, made.SecretName, item.Key)
				}
			}
			if claim := volume.PersistentVolumeClaim; claim != nil && all.claims[claim.ClaimName] == nil {
				t.Errorf("%s: there is no claim %s", name, claim.ClaimName)
			}
		}
		for _, container := range containers(pod) {
			for _, mount := range container.VolumeMounts {
				if !volumes[mount.Name] {
					t.Errorf("%s: there is no volume %s", name, mount.Name)
				}
				all.hasFile(t, name, pod, mount)
			}
			for _, variable := range container.Env {
				if from := variable.ValueFrom; from != nil {
					all.needsSecret(t, name, from.SecretKeyRef.Name, from.SecretKeyRef.Key)
				}
			}
		}
	}
}

func (all *rendered) needsSecret(t *testing.T, pod, secret, key string) {
	t.Helper()
	if !all.secrets[secret][key] {
		t.Errorf("%s: the secret %s has no %s", pod, secret, key)
	}
}

// hasFile holds a single file that is mounted against the keys of its ConfigMap.
func (all *rendered) hasFile(t *testing.T, name string, pod core.PodTemplateSpec, mount core.VolumeMount) {
	t.Helper()
	for _, volume := range pod.Spec.Volumes {
		made := volume.ConfigMap
		if volume.Name == mount.Name && made != nil && mount.SubPath != "" && !all.maps[made.Name][mount.SubPath] {
			t.Errorf("%s: the ConfigMap %s has no %s", name, made.Name, mount.SubPath)
		}
	}
}

func TestEveryContainerIsLimitedAndLookedAfter(t *testing.T) {
	for name, pod := range render(t).pods {
		if links := pod.Spec.EnableServiceLinks; links == nil || *links {
			t.Errorf("%s: variables such as KAFKA_PORT would be taken for settings", name)
		}
		for _, container := range containers(pod) {
			if container.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s: %s has no limit of memory", name, container.Name)
			}
			if confined := container.SecurityContext; confined == nil || *confined.AllowPrivilegeEscalation {
				t.Errorf("%s: %s may get rights that it doesn't need", name, container.Name)
			}
		}
		for _, container := range pod.Spec.Containers {
			if container.ReadinessProbe == nil || container.LivenessProbe == nil {
				t.Errorf("%s: %s is asked for nothing", name, container.Name)
			}
			for _, probe := range []*core.Probe{container.StartupProbe, container.ReadinessProbe, container.LivenessProbe} {
				if probe != nil && probe.HTTPGet != nil && !hasPort(container, probe.HTTPGet.Port.StrVal) {
					t.Errorf("%s: a probe names the port %s", name, probe.HTTPGet.Port.StrVal)
				}
			}
		}
	}
}

func hasPort(container core.Container, name string) bool {
	for _, port := range container.Ports {
		if port.Name == name {
			return true
		}
	}
	return false
}

func TestAddressesLeadToServicesAndTheirPorts(t *testing.T) {
	all := render(t)
	open := map[string]bool{}
	for name, service := range all.services {
		pod := all.pods[name]
		selects(t, name, service.Spec.Selector, pod.Labels)
		for _, port := range service.Spec.Ports {
			open[fmt.Sprintf("%s:%d", name, port.Port)] = true
			if !hasPort(pod.Spec.Containers[0], port.TargetPort.StrVal) {
				t.Errorf("%s leads to the port %s, which nothing listens on", name, port.TargetPort.StrVal)
			}
		}
	}
	scraped, err := os.ReadFile(filepath.Join(root, "docker", "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`\b(kafka|clickhouse|stream-job|prometheus|grafana):(\d+)`)
	wanted := address.FindAllString(string(scraped), -1)
	for _, pod := range all.pods {
		for _, container := range containers(pod) {
			for _, variable := range container.Env {
				wanted = append(wanted, address.FindAllString(variable.Value, -1)...)
			}
		}
	}
	if len(wanted) < 6 {
		t.Fatalf("only %v", wanted)
	}
	for _, one := range wanted {
		if !open[one] {
			t.Errorf("%s is addressed, and no Service has it", one)
		}
	}
}

// The images and the limits of memory are those of docker-compose.yml.
func TestImagesAndLimitsAreThoseOfTheContainers(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	compose := string(text)
	for name, pod := range render(t).pods {
		container := pod.Spec.Containers[0]
		variable := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if image := fmt.Sprintf("${%s_IMAGE:-%s}", variable, container.Image); !strings.Contains(compose, image) {
			t.Errorf("docker-compose.yml has no %s", image)
		}
		megabytes := container.Resources.Limits.Memory().Value() >> 20
		limit := fmt.Sprintf("%dm", megabytes)
		if megabytes%1024 == 0 {
			limit = fmt.Sprintf("%dg", megabytes/1024)
		}
		if memory := fmt.Sprintf("${%s_MEMORY:-%s}", variable, limit); !strings.Contains(compose, memory) {
			t.Errorf("docker-compose.yml has no %s", memory)
		}
	}
}

func TestSecretsAreMadeOnceAndMissingOnesAreNamed(t *testing.T) {
	manifests := copyOf(t)
	_, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), manifests)
	if err == nil || !strings.Contains(err.Error(), "secrets.env") {
		t.Errorf("without secrets.env: %v", err)
	}
	makeSecrets(t, manifests)
	file := filepath.Join(manifests, "secrets.env")
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	makeSecrets(t, manifests)
	if second, _ := os.ReadFile(file); string(second) != string(first) {
		t.Error("secrets that were there have changed")
	}
	if about, _ := os.Stat(file); about.Mode().Perm() != 0o600 {
		t.Errorf("others may read secrets.env: %v", about.Mode())
	}
	if line := regexp.MustCompile(`(?m)^KAFKA_CLUSTER_ID=[\w-]{22}$`); !line.Match(first) {
		t.Error("Kafka's cluster id is no 16 bytes")
	}
}
