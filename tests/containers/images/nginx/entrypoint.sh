# As the vendor's image has it: files of /etc/nginx/templates go to conf.d, with the variables that are set filled in; among
# them, on request, the name servers of this container.
set -eu

if [ -n "${NGINX_ENTRYPOINT_LOCAL_RESOLVERS:-}" ]; then
    NGINX_LOCAL_RESOLVERS=$(awk '$1 == "nameserver" {print $2 ~ ":" ? "[" $2 "]" : $2}' /etc/resolv.conf | paste -sd ' ' -)
    export NGINX_LOCAL_RESOLVERS
fi
known=$(env | cut -d= -f1 | sed 's/.*/${&}/')
for template in /etc/nginx/templates/*.template; do
    [ -e "$template" ] || continue
    name=$(basename "$template" .template)
    envsubst "$known" < "$template" > "/etc/nginx/conf.d/$name"
done
exec "$@"
