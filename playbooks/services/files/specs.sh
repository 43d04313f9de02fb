# How a stack's services are in the swarm, in fingerprints: `service aspect fingerprint`, a line each. What
# specs.yml notes and survey.yml compares.
specs() {
    docker service ls -q --filter "label=com.docker.stack.namespace=$1" | xargs -r docker service inspect --format '{{.Spec.Name}} image {{json .Spec.TaskTemplate.ContainerSpec.Image}}
{{.Spec.Name}} settings {{json .Spec.TaskTemplate.ContainerSpec.Env}}
{{.Spec.Name}} command {{json .Spec.TaskTemplate.ContainerSpec.Command}} {{json .Spec.TaskTemplate.ContainerSpec.Args}}
{{.Spec.Name}} mounts {{json .Spec.TaskTemplate.ContainerSpec.Mounts}}
{{.Spec.Name}} networks {{json .Spec.TaskTemplate.Networks}}
{{.Spec.Name}} replicas {{json .Spec.Mode}}
{{.Spec.Name}} ports {{json .Spec.EndpointSpec}}
{{.Spec.Name}} labels {{json .Spec.Labels}}
{{.Spec.Name}} other {{json .Spec}}' | while read -r name aspect value; do
        # a restart counts this up, and changes nothing else
        print=$(printf %s "$value" | sed 's/"ForceUpdate":[0-9]*,//' | sha256sum | cut -d' ' -f1)
        [ -z "$name" ] || printf '%s %s %s\n' "${name#"$1"_}" "$aspect" "$print"
    done | sort
}
