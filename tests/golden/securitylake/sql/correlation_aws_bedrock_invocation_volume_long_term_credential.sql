WITH matched AS (
    SELECT time / 1000 AS "time",
        metadata.uid AS "eventID",
        actor.user.uid AS "userIdentity.arn",
        cloud.region AS "awsRegion",
        actor.user.type AS "userIdentity.type",
        actor.user.name AS "userIdentity.userName",
        actor.user.credential_uid AS "userIdentity.accessKeyId",
        actor.session.issuer AS "userIdentity.sessionContext.sessionIssuer.arn",
        CASE actor.session.is_mfa WHEN true THEN 'true' WHEN false THEN 'false' END AS "userIdentity.sessionContext.attributes.mfaAuthenticated",
        coalesce(src_endpoint.ip, src_endpoint.domain) AS "sourceIPAddress",
        src_endpoint.uid AS "vpcEndpointId",
        http_request.user_agent AS "userAgent",
        api.service.name AS "eventSource",
        api.operation AS "eventName",
        api.response.error AS "errorCode",
        element_at(unmapped, 'recipientAccountId') AS "recipientAccountId",
        json_extract_scalar(api.request.data, '$.modelId') AS "requestParameters.modelId",
        array_join(coalesce(transform(resources, e -> e.uid), flatten(map_values(transform_values(map_filter(unmapped, (k, v) -> replace(k, '[]') = 'resources.ARN'), (k, v) -> if(strpos(k, '[]') > 0, split(v, ','), ARRAY[v]))))), ', ') AS "resources.ARN",
        element_at(unmapped, 'additionalEventData.callWithBearerToken') AS "additionalEventData.callWithBearerToken",
        element_at(unmapped, 'additionalEventData.inferenceRegion') AS "additionalEventData.inferenceRegion",
        array_join(flatten(map_values(transform_values(map_filter(unmapped, (k, v) -> replace(k, '[]') = 'additionalEventData.inputTokens'), (k, v) -> if(strpos(k, '[]') > 0, split(v, ','), ARRAY[v])))), ', ') AS "additionalEventData.inputTokens",
        array_join(flatten(map_values(transform_values(map_filter(unmapped, (k, v) -> replace(k, '[]') = 'additionalEventData.outputTokens'), (k, v) -> if(strpos(k, '[]') > 0, split(v, ','), ARRAY[v])))), ', ') AS "additionalEventData.outputTokens"
    FROM amazon_security_lake_glue_db_us_east_1.amazon_security_lake_table_us_east_1_cloud_trail_mgmt_2_0
    WHERE time_dt >= CAST(? AS timestamp) AND time_dt < CAST(? AS timestamp) + INTERVAL '1' DAY
        AND ((lower(api.service.name) = 'bedrock.amazonaws.com' AND (lower(api.operation) IN ('converse', 'conversestream', 'createmodelinvocationjob', 'invokeagent', 'invokeflow', 'invokeinlineagent', 'invokemodel', 'invokemodelwithbidirectionalstream', 'invokemodelwithresponsestream', 'rerank', 'retrieveandgenerate', 'retrieveandgeneratestream', 'startasyncinvoke')) OR (lower(api.service.name) IN ('aws-external-anthropic.amazonaws.com', 'bedrock-mantle.amazonaws.com')) AND lower(api.operation) = 'createinference') AND (lower(actor.user.credential_uid) LIKE 'akia%' ESCAPE '\' OR lower(actor.user.type) IN ('iamuser', 'root')) AND NOT coalesce(lower(actor.user.credential_uid) LIKE 'asia%' ESCAPE '\' OR lower(metadata.event_code) = 'awsserviceevent', false))
),
present AS (
    SELECT *,
        lag("time") OVER (PARTITION BY "userIdentity.arn", "eventID" ORDER BY "time") AS before,
        lead("time") OVER (PARTITION BY "userIdentity.arn", "eventID" ORDER BY "time") AS after
    FROM matched
    WHERE "userIdentity.arn" <> ''
), steps AS (
    SELECT "userIdentity.arn", at, step
    FROM present CROSS JOIN UNNEST(
        ARRAY["time", "time" + 3600], ARRAY[1, -1],
        ARRAY[before IS NULL OR before < "time" - 3600, after IS NULL OR after > "time" + 3600]
    ) AS edges (at, step, counts)
    WHERE counts
), counted AS (
    SELECT *, sum(step) OVER (
        PARTITION BY "userIdentity.arn" ORDER BY at, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS value_count
    FROM steps
),
crossed AS (
    SELECT *, CASE WHEN step = 1 AND value_count = 500 THEN 1 ELSE 0 END AS opens
    FROM counted
    WHERE value_count >= 500 OR step = -1 AND value_count = 500 - 1
), numbered AS (
    SELECT *, sum(opens) OVER (
        PARTITION BY "userIdentity.arn" ORDER BY at, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS alert_number
    FROM crossed
), alerts AS (
    SELECT "userIdentity.arn", max(value_count) AS most_values, min(at) - 3600 AS window_start, max(at) AS window_end
    FROM numbered GROUP BY "userIdentity.arn", alert_number
)
SELECT "userIdentity.arn", most_values AS value_count,
    from_unixtime(min("time")) AS first_seen, from_unixtime(max("time")) AS last_seen,
    count(DISTINCT "eventID") AS event_count,
    array_sort(transform(
        map_entries(multimap_agg("awsRegion" || ' ' || coalesce(nullif("errorCode", ''), 'success'), ROW("time", "eventID"))),
        one -> format('%s: %d (%s to %s)', one[1], cardinality(array_distinct(one[2])), date_format(from_unixtime(array_min(one[2])[1], 'UTC'), '%Y-%m-%dT%H:%i:%sZ'), date_format(from_unixtime(array_max(one[2])[1], 'UTC'), '%Y-%m-%dT%H:%i:%sZ'))
    )) AS outcomes,
    array_sort(array_agg(DISTINCT "awsRegion") FILTER (WHERE "awsRegion" <> '')) AS "awsRegion",
    array_sort(array_agg(DISTINCT "userIdentity.type") FILTER (WHERE "userIdentity.type" <> '')) AS "userIdentity.type",
    array_sort(array_agg(DISTINCT "userIdentity.userName") FILTER (WHERE "userIdentity.userName" <> '')) AS "userIdentity.userName",
    array_sort(array_agg(DISTINCT "userIdentity.accessKeyId") FILTER (WHERE "userIdentity.accessKeyId" <> '')) AS "userIdentity.accessKeyId",
    array_sort(array_agg(DISTINCT "userIdentity.sessionContext.sessionIssuer.arn") FILTER (WHERE "userIdentity.sessionContext.sessionIssuer.arn" <> '')) AS "userIdentity.sessionContext.sessionIssuer.arn",
    array_sort(array_agg(DISTINCT "userIdentity.sessionContext.attributes.mfaAuthenticated") FILTER (WHERE "userIdentity.sessionContext.attributes.mfaAuthenticated" <> '')) AS "userIdentity.sessionContext.attributes.mfaAuthenticated",
    array_sort(array_agg(DISTINCT "sourceIPAddress") FILTER (WHERE "sourceIPAddress" <> '')) AS "sourceIPAddress",
    array_sort(array_agg(DISTINCT "vpcEndpointId") FILTER (WHERE "vpcEndpointId" <> '')) AS "vpcEndpointId",
    array_sort(array_agg(DISTINCT "userAgent") FILTER (WHERE "userAgent" <> '')) AS "userAgent",
    array_sort(array_agg(DISTINCT "eventSource") FILTER (WHERE "eventSource" <> '')) AS "eventSource",
    array_sort(array_agg(DISTINCT "eventName") FILTER (WHERE "eventName" <> '')) AS "eventName",
    array_sort(array_agg(DISTINCT "errorCode") FILTER (WHERE "errorCode" <> '')) AS "errorCode",
    array_sort(array_agg(DISTINCT "recipientAccountId") FILTER (WHERE "recipientAccountId" <> '')) AS "recipientAccountId",
    array_sort(array_agg(DISTINCT "requestParameters.modelId") FILTER (WHERE "requestParameters.modelId" <> '')) AS "requestParameters.modelId",
    array_sort(array_agg(DISTINCT "resources.ARN") FILTER (WHERE "resources.ARN" <> '')) AS "resources.ARN",
    array_sort(array_agg(DISTINCT "additionalEventData.callWithBearerToken") FILTER (WHERE "additionalEventData.callWithBearerToken" <> '')) AS "additionalEventData.callWithBearerToken",
    array_sort(array_agg(DISTINCT "additionalEventData.inferenceRegion") FILTER (WHERE "additionalEventData.inferenceRegion" <> '')) AS "additionalEventData.inferenceRegion",
    array_sort(array_agg(DISTINCT "additionalEventData.inputTokens") FILTER (WHERE "additionalEventData.inputTokens" <> '')) AS "additionalEventData.inputTokens",
    array_sort(array_agg(DISTINCT "additionalEventData.outputTokens") FILTER (WHERE "additionalEventData.outputTokens" <> '')) AS "additionalEventData.outputTokens"
FROM alerts JOIN present USING ("userIdentity.arn")
WHERE "time" BETWEEN window_start AND window_end
GROUP BY "userIdentity.arn", most_values, window_start
ORDER BY first_seen, "userIdentity.arn";
