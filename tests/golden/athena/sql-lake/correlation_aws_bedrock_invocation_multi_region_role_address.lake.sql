WITH matched AS (
    SELECT CAST(to_unixtime(eventtime) AS bigint) AS "time",
        useridentity.sessioncontext.sessionissuer.arn AS "userIdentity.sessionContext.sessionIssuer.arn",
        sourceipaddress AS "sourceIPAddress",
        awsregion AS "awsRegion",
        useridentity.arn AS "userIdentity.arn",
        useridentity.type AS "userIdentity.type",
        useridentity.username AS "userIdentity.userName",
        useridentity.accesskeyid AS "userIdentity.accessKeyId",
        useridentity.sessioncontext.attributes.mfaauthenticated AS "userIdentity.sessionContext.attributes.mfaAuthenticated",
        vpcendpointid AS "vpcEndpointId",
        useragent AS "userAgent",
        eventsource AS "eventSource",
        eventname AS "eventName",
        errorcode AS "errorCode",
        recipientaccountid AS "recipientAccountId",
        element_at(requestparameters, 'modelId') AS "requestParameters.modelId",
        array_join(transform(resources, r -> r.arn), ', ') AS "resources.ARN",
        element_at(additionaleventdata, 'callWithBearerToken') AS "additionalEventData.callWithBearerToken",
        element_at(additionaleventdata, 'inferenceRegion') AS "additionalEventData.inferenceRegion",
        array_join(coalesce(if('' <> '' OR element_at(additionaleventdata, 'inputTokens') LIKE '[%', transform(CAST(json_parse(json_query(element_at(additionaleventdata, 'inputTokens'), 'lax $[*]' WITH ARRAY WRAPPER EMPTY ARRAY ON EMPTY)) AS array(json)), e -> if(json_format(e) <> 'null', coalesce(json_extract_scalar(e, '$'), json_format(e))))), filter(ARRAY[element_at(additionaleventdata, 'inputTokens')], e -> '' = '')), ', ') AS "additionalEventData.inputTokens",
        array_join(coalesce(if('' <> '' OR element_at(additionaleventdata, 'outputTokens') LIKE '[%', transform(CAST(json_parse(json_query(element_at(additionaleventdata, 'outputTokens'), 'lax $[*]' WITH ARRAY WRAPPER EMPTY ARRAY ON EMPTY)) AS array(json)), e -> if(json_format(e) <> 'null', coalesce(json_extract_scalar(e, '$'), json_format(e))))), filter(ARRAY[element_at(additionaleventdata, 'outputTokens')], e -> '' = '')), ', ') AS "additionalEventData.outputTokens"
    FROM $EDS_ID
    WHERE eventtime BETWEEN TIMESTAMP '$FROM' AND TIMESTAMP '$TO'
        AND ((lower(eventsource) = 'bedrock.amazonaws.com' AND (lower(eventname) IN ('converse', 'conversestream', 'createmodelinvocationjob', 'invokeagent', 'invokeflow', 'invokeinlineagent', 'invokemodel', 'invokemodelwithbidirectionalstream', 'invokemodelwithresponsestream', 'rerank', 'retrieveandgenerate', 'retrieveandgeneratestream', 'startasyncinvoke')) OR (lower(eventsource) IN ('aws-external-anthropic.amazonaws.com', 'bedrock-mantle.amazonaws.com')) AND lower(eventname) = 'createinference') AND lower(useridentity.accesskeyid) LIKE 'asia%' ESCAPE '\' AND NOT coalesce(lower(useridentity.type) IN ('iamuser', 'root') OR element_at(additionaleventdata, 'callWithBearerToken') = 'true' OR element_at(requestparameters, 'callWithBearerToken') = 'true' OR lower(eventtype) = 'awsserviceevent', false))
),
present AS (
    SELECT *,
        lag("time") OVER (PARTITION BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", "awsRegion" ORDER BY "time") AS before,
        lead("time") OVER (PARTITION BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", "awsRegion" ORDER BY "time") AS after
    FROM matched
    WHERE "userIdentity.sessionContext.sessionIssuer.arn" <> '' AND "sourceIPAddress" <> '' AND "awsRegion" <> ''
), steps AS (
    SELECT "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", at, step
    FROM present CROSS JOIN UNNEST(
        ARRAY["time", "time" + 1800], ARRAY[1, -1],
        ARRAY[before IS NULL OR before < "time" - 1800, after IS NULL OR after > "time" + 1800]
    ) AS edges (at, step, counts)
    WHERE counts
), counted AS (
    SELECT *, sum(step) OVER (
        PARTITION BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress" ORDER BY at, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS value_count
    FROM steps
),
crossed AS (
    SELECT *, CASE WHEN step = 1 AND value_count = 3 THEN 1 ELSE 0 END AS opens
    FROM counted
    WHERE value_count >= 3 OR step = -1 AND value_count = 3 - 1
), numbered AS (
    SELECT *, sum(opens) OVER (
        PARTITION BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress" ORDER BY at, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS alert_number
    FROM crossed
), alerts AS (
    SELECT "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", max(value_count) AS most_values, min(at) - 1800 AS window_start, max(at) AS window_end
    FROM numbered GROUP BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", alert_number
)
SELECT "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", most_values AS value_count,
    array_sort(array_agg(DISTINCT "awsRegion")) AS "awsRegion",
    from_unixtime(min("time")) AS first_seen, from_unixtime(max("time")) AS last_seen,
    count(*) AS event_count,
    array_sort(transform(
        map_entries(multimap_agg("awsRegion" || ' ' || coalesce(nullif("errorCode", ''), 'success'), "time")),
        one -> format('%s: %d (%s to %s)', one[1], cardinality(one[2]), date_format(from_unixtime(array_min(one[2]), 'UTC'), '%Y-%m-%dT%H:%i:%sZ'), date_format(from_unixtime(array_max(one[2]), 'UTC'), '%Y-%m-%dT%H:%i:%sZ'))
    )) AS outcomes,
    array_sort(array_agg(DISTINCT "userIdentity.arn") FILTER (WHERE "userIdentity.arn" <> '')) AS "userIdentity.arn",
    array_sort(array_agg(DISTINCT "userIdentity.type") FILTER (WHERE "userIdentity.type" <> '')) AS "userIdentity.type",
    array_sort(array_agg(DISTINCT "userIdentity.userName") FILTER (WHERE "userIdentity.userName" <> '')) AS "userIdentity.userName",
    array_sort(array_agg(DISTINCT "userIdentity.accessKeyId") FILTER (WHERE "userIdentity.accessKeyId" <> '')) AS "userIdentity.accessKeyId",
    array_sort(array_agg(DISTINCT "userIdentity.sessionContext.attributes.mfaAuthenticated") FILTER (WHERE "userIdentity.sessionContext.attributes.mfaAuthenticated" <> '')) AS "userIdentity.sessionContext.attributes.mfaAuthenticated",
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
FROM alerts JOIN present USING ("userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress")
WHERE "time" BETWEEN window_start AND window_end
GROUP BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", most_values, window_start
ORDER BY first_seen, "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress";
